"""What Ray and uvicorn keep private and Trimtab uses is as it was tested; each failure says what hangs on it."""

import asyncio
import errno
import inspect
from pathlib import Path

import grpc
import pytest
import ray
import uvicorn
from ray.experimental import internal_kv
from ray.serve._private import client, constants, controller, default_impl, grpc_util, http_util, replica
from ray.serve._private.common import DeploymentID, ReplicaID, RequestMetadata
from ray.serve.context import _disconnect, _get_global_client
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ServeInstanceDetails
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http import flow_control, httptools_impl

from deployments import ray_private
from deployments.ingress import protocol
from deployments.launch.serve import set_environment
from tests.conftest import free_port

CHANGED = f"Ray {ray.__version__} has changed: "


def has_parameters(function, *names):
    return set(names) <= inspect.signature(function).parameters.keys()


@pytest.mark.parametrize(
    ("holds", "what"),
    [
        (
            lambda: has_parameters(_get_global_client, "raise_if_no_controller_running") and callable(_disconnect),
            "Serve's client is found otherwise. Whether a server is for its own machine, and so who must show a key "
            "(http_host), which applications are models (builders), and how `serve run` ends (end_serve) hang on it",
        ),
        (
            lambda: isinstance(client.ServeControllerClient.http_config, property),
            "Serve's client tells no http_config. Replicas no longer know whether the network can call (http_host)",
        ),
        (
            lambda: (
                callable(client.ServeControllerClient.get_serve_details)
                and {"applications"} <= ServeInstanceDetails.model_fields.keys()
            ),
            "Serve's client tells no details of applications. Whether /v2/health/ready waits for a model whose "
            "application failed hangs on them (builders)",
        ),
        (
            lambda: (
                has_parameters(controller.ServeController.graceful_shutdown, "wait")
                and callable(client.ServeControllerClient.shutdown_cached_handles)
            ),
            "Serve's controller ends otherwise. `serve run` would end with an error message, or not at all (end_serve)",
        ),
        (
            lambda: (
                has_parameters(internal_kv._internal_kv_put, "key", "value", "overwrite")
                and has_parameters(internal_kv._internal_kv_get, "key")
            ),
            "its key-value store is called otherwise. The versions that `load` and `unload` order are kept there "
            "(kept, keep)",
        ),
        (
            lambda: has_parameters(DeploymentHandle.options, "_by_reference"),
            "handles know no _by_reference. Streams and compressed messages above 4 MiB go through it "
            "(handle_for_large)",
        ),
        (
            lambda: (
                has_parameters(replica.ReplicaActor.handle_request, "pickled_request_metadata")
                and has_parameters(RequestMetadata, "request_id", "internal_request_id", "call_method")
                and ReplicaID.from_full_id_str(ReplicaID("r", DeploymentID("d", "a")).to_full_id_str()).unique_id == "r"
            ),
            "replicas are called or named otherwise. A large request would stay with the replica that got it "
            "(replica_actor, call_replica)",
        ),
        (
            lambda: (
                "__serve_build_asgi_app__" in inspect.getsource(replica)
                and "__serve_build_asgi_app__" in inspect.getsource(ray.serve.api)
            ),
            "replicas build their ASGI application otherwise. No model would answer by HTTP (AsgiReplica)",
        ),
        (
            lambda: "callback" in inspect.getsource(http_util.configure_http_middlewares),
            "it asks no callback for middlewares. The fast path and the bounds of gRPC hang on it "
            "(deployments.ingress.servers)",
        ),
        (
            lambda: has_parameters(grpc_util.gRPCGenericServer.add_passthrough_service, "service_name"),
            "its gRPC servers have no services of their own. All of gRPC hangs on it (deployments.oip.grpc_service)",
        ),
    ],
)
def test_ray_is_as_trimtab_needs_it(holds, what):
    assert holds(), CHANGED + what


def test_ray_still_reads_the_variables_that_serve_sets():
    environment = {}
    set_environment(environment, Path("/somewhere"))
    read = inspect.getsource(constants)
    unread = [name for name in environment if name.startswith("RAY_SERVE_") and name not in read]
    assert not unread, (
        f"{CHANGED}it reads no {unread}. `serve` chooses the ingress, its files and ports by them (set_environment), "
        "and cluster.yaml does"
    )


def test_a_grpc_server_of_serve_listens_where_it_is_told_and_reads_no_more_than_it_is_told(monkeypatch):
    """Started by Serve's own function, as in each replica and in Ray's own proxy."""
    monkeypatch.setattr(default_impl, "add_grpc_address", default_impl.add_grpc_address)
    monkeypatch.setattr(grpc_util, "DEFAULT_GRPC_SERVER_OPTIONS", grpc_util.DEFAULT_GRPC_SERVER_OPTIONS)
    ray_private.bound_grpc_servers(on_loopback=True, most_bytes=1000)
    listening = []
    wanted = free_port()
    ours = default_impl.add_grpc_address

    def noted(server, address):
        class Noting:
            def add_insecure_port(self, at):
                port = server.add_insecure_port(f"{at.rpartition(':')[0]}:0")
                listening.append((at, port))

        ours(Noting(), address)

    monkeypatch.setattr(default_impl, "add_grpc_address", noted)

    async def echo(body, _):
        return body

    handlers = grpc.method_handlers_generic_handler("S", {"Echo": grpc.unary_unary_rpc_method_handler(echo)})

    async def main():
        def servicer(_, server):
            server.add_passthrough_service("S")
            server.add_generic_rpc_handlers((handlers,))

        options = ray.serve.config.gRPCOptions(port=wanted)
        monkeypatch.setattr(type(options), "grpc_servicer_func_callable", [servicer])
        loop = asyncio.get_running_loop()
        task, server = await grpc_util.start_grpc_server(lambda **_: echo, options, event_loop=loop)
        ((at, port),) = listening
        codes = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for size in (900, 1100):
                try:
                    codes.append(len(await channel.unary_unary("/S/Echo")(bytes(size), timeout=10)))
                except grpc.aio.AioRpcError as error:
                    codes.append(error.code())
        await server.stop(0)
        task.cancel()
        return at, codes

    assert asyncio.run(main()) == (f"127.0.0.1:{wanted}", [900, grpc.StatusCode.RESOURCE_EXHAUSTED]), (
        CHANGED + "its gRPC servers are made otherwise. They would listen on every address and read messages of any "
        "size before a key is checked (bound_grpc_servers)"
    )


@pytest.mark.parametrize("on_loopback", [True, False])
def test_a_grpc_server_of_serve_shares_no_port_with_another_cluster_of_this_machine(monkeypatch, on_loopback):
    """Their clients' calls would go to either. Serve tries another port where the error says that one is taken."""
    monkeypatch.setattr(default_impl, "add_grpc_address", default_impl.add_grpc_address)
    ray_private.bound_grpc_servers(on_loopback=on_loopback, most_bytes=1000)

    async def main():
        options = ray.serve.config.gRPCOptions(port=free_port(), grpc_servicer_functions=[])
        loop = asyncio.get_running_loop()
        task, server = await grpc_util.start_grpc_server(lambda **_: None, options, event_loop=loop)
        with pytest.raises(RuntimeError) as refused:
            await grpc_util.start_grpc_server(lambda **_: None, options, event_loop=loop)
        await server.stop(0)
        task.cancel()
        return refused.value.__cause__.errno

    assert asyncio.run(main()) == errno.EADDRINUSE


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (
            httptools_impl.HttpToolsProtocol,
            ("on_headers_complete", "on_message_complete", "_start_asgi_task", "on_response_complete"),
        ),
        (httptools_impl.RequestResponseCycle, ("send", "receive")),
        (httptools_impl, ("STATUS_LINE",)),
        (flow_control, ("HIGH_WATER_LIMIT", "FlowControl")),
    ],
)
def test_uvicorn_is_as_the_quick_way_of_small_requests_needs_it(owner, names):
    missing = [name for name in names if not hasattr(owner, name)]
    assert not missing, f"uvicorn {uvicorn.__version__} has no {missing}: deployments.ingress.protocol is made of them"


def test_the_quick_way_is_taken_with_the_uvicorn_that_is_installed():
    assert uvicorn.__version__.startswith(protocol.TESTED), (
        f"uvicorn {uvicorn.__version__} is not the {protocol.TESTED}x that deployments.ingress.protocol was tested "
        "with: small requests take uvicorn's own way, at half the speed. Run its tests and change TESTED"
    )
    assert "auto" in HTTP_PROTOCOLS, "uvicorn's table of protocols: the quick way is put there (protocol.install)"
