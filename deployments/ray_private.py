"""What Ray keeps private and Trimtab uses: all of it stands here, each with its reason.

A release of Ray may change any of it without a word. `tests/deployments/test_ray_private.py` then says what broke and
what of Trimtab hangs on it. Two more things hang on a release, each in the one file that is made of it: Ray's HAProxy
template (`ingress/haproxy.py`) and uvicorn's protocol (`ingress/protocol.py`).
"""

import pickle
import socket
import time
from collections.abc import Awaitable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from click import ClickException
from jsonschema import ValidationError
from ray import serve
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
from ray.experimental import internal_kv
from ray.serve._private import default_impl, grpc_util
from ray.serve._private.common import RequestMetadata
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve._private.utils import generate_request_id
from ray.serve.context import _disconnect, _get_global_client
from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import ReplicaID
from starlette.types import ASGIApp

_OPTIONS = "DEFAULT_GRPC_SERVER_OPTIONS"
"""Serve's options for each gRPC server, read as one is made."""
_MOST_RECEIVED = "grpc.max_receive_message_length"
_LOOK_EVERY_S = 0.1


class AsgiReplica:
    """A replica's class that hands Ray the ASGI application `_app`."""

    _app: Any

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """What Ray calls once the replica is made. Its public way, `serve.ingress(app)`, wants the application before
        there is a replica to make it of.
        """
        app: ASGIApp = self._app
        return app


def http_host() -> str | None:
    """The host that the ingress listens on: whether the network can call decides who must show a key.

    A replica is told its own settings alone; Serve's client has the cluster's.
    """
    client = _get_global_client()
    assert client is not None, "a replica runs within Serve"
    host: str | None = client.http_config.host
    return host


def builders() -> Mapping[str, str]:
    """What builds each application, by its name, as "module:function"; only `serve.status()` is public, and it tells
    models from other applications no more once they have failed.
    """
    return {name: config.get("import_path", "") for name, config in app_configs().items()}


def app_configs() -> Mapping[str, Mapping[str, Any]]:
    """What `serve_config.yaml` says of each application, by its name; nothing of those that it does not have."""
    client = _get_global_client()
    assert client is not None, "a replica runs within Serve"
    applications = client.get_serve_details()["applications"]
    return {name: details.get("deployed_app_config") or {} for name, details in applications.items()}


class KeyValueStore:
    """The cluster's own, on the head node, as `deployments.replicas.agreement.Store` and `deployments.pushed.catalogue`
    want it: it outlives replicas, and Ray has no public one.
    """

    def get(self, key: str) -> bytes | None:
        """The value, if there is one."""
        found: bytes | None = internal_kv._internal_kv_get(key)
        return found

    def put(self, key: str, value: bytes) -> None:
        """Write it over what is there."""
        internal_kv._internal_kv_put(key, value, overwrite=True)

    def put_new(self, key: str, value: bytes) -> bool:
        """Write it unless there is one, at once for all; whether it was written."""
        return not internal_kv._internal_kv_put(key, value, overwrite=False)

    def delete(self, key: str) -> None:
        """Forget it, if it is there."""
        internal_kv._internal_kv_del(key)

    def keys(self, prefix: str) -> list[str]:
        """All that begin with `prefix`."""
        return [key.decode() for key in internal_kv._internal_kv_list(prefix)]

    def below(self, prefix: str) -> Mapping[str, bytes]:
        """All whose key begins with `prefix`."""
        found = {key: internal_kv._internal_kv_get(key) for key in self.keys(prefix)}
        return {key: value for key, value in found.items() if value is not None}


def handle_for_large(deployment: str, application: str) -> DeploymentHandle[Any]:
    """A handle whose requests and answers may be of any size: by Serve's own gRPC, 4 MiB are the most."""
    return serve.get_deployment_handle(deployment, application).options(_by_reference=True)


def replica_actor(own: ReplicaID, name: str, deployment: str | None = None) -> Any:
    """The actor of another replica of `own`'s application, of its own deployment where no other is named, or none where
    it has gone; may block for a moment. A handle
    chooses the replica itself, and may choose the caller; a router of one's own is not to be had behind HAProxy.
    """
    of = replace(own.deployment_id, name=deployment) if deployment else own.deployment_id
    replica = replace(own, unique_id=name, deployment_id=of)
    try:
        return ray.get_actor(replica.to_full_id_str(), namespace=SERVE_NAMESPACE)
    except ValueError:
        return None


def call_replica(actor: Any, method: str, argument: Any) -> Awaitable[Any]:
    """What `method` of that replica gives for `argument`, called as a handle calls it, so that Serve counts it."""
    metadata = RequestMetadata(
        request_id=generate_request_id(), internal_request_id=generate_request_id(), call_method=method
    )
    reference: Awaitable[Any] = actor.handle_request.remote(pickle.dumps(metadata), argument)
    return reference


def bound_grpc_servers(*, on_loopback: bool, most_bytes: int) -> None:
    """Let the gRPC servers that Serve starts in this process from now on take no message of more than `most_bytes`, and
    listen on loopback alone where `on_loopback`. Its settings know one size for both ways, and no address but all.
    """
    options = vars(grpc_util)
    others = [option for option in options[_OPTIONS] if option[0] != _MOST_RECEIVED]
    options[_OPTIONS] = [*others, (_MOST_RECEIVED, most_bytes)]
    default_impl.add_grpc_address = partial(_listen, "127.0.0.1" if on_loopback else None)


def _listen(host: str | None, server: Any, address: str) -> None:
    """In place of Serve's own, which listens on `address`, `[::]:<port>`, even where another process does: calls then
    go to either. It asks gRPC not to, by a text where gRPC takes a number alone, which changes nothing.

    Raises:
        RuntimeError: somebody listens there; Serve tries another port.
    """
    port = int(address.rpartition(":")[2])
    try:
        with socket.socket(socket.AF_INET if host or not socket.has_ipv6 else socket.AF_INET6) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host or "", port))
    except OSError as error:
        raise RuntimeError(f"port {port} is taken") from error
    server.add_insecure_port(f"{host}:{port}" if host else address)


def alive_nodes(address: str, timeout_s: float = 5.0) -> dict[str, str]:
    """The ids of the cluster's nodes, by their hosts' addresses, asked of its head at `address`; none where it does not
    answer. `ray.nodes()` would make this process a driver of the cluster first.
    """
    if not _listens(address):
        return {}
    try:
        nodes = GcsClient(address=address).get_all_node_info(timeout=timeout_s)
    except ray.exceptions.RpcError:
        return {}
    alive = GcsNodeInfo.GcsNodeState.Value("ALIVE")
    return {info.node_manager_address: info.node_id.hex() for info in nodes.values() if info.state == alive}


def _listens(address: str) -> bool:
    """Whether somebody does; without, a client would wait for a minute."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False


def drain(address: str, node: str, timeout_s: float) -> None:
    """Let Serve replace what runs on `node`, and Ray start nothing there; `ray drain-node` is hidden, and slower."""
    deadline_ms = time.time_ns() // 10**6 + int(timeout_s * 1000)
    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")  # the other may be refused
    GcsClient(address=address).drain_node(node, reason, "Trimtab drains it", deadline_ms)


def end_serve(timeout_s: float = 30.0) -> None:
    """End Ray Serve, if it runs. `serve.shutdown()` waits in a call to the controller, which fails as the controller
    ends, and Ray prints that as an error; here the controller is asked, and then looked for.
    """
    client = _get_global_client(raise_if_no_controller_running=False) if ray.is_initialized() else None
    if client is None:
        return
    client.shutdown_cached_handles()  # type: ignore[no-untyped-call]
    ray.get(client._controller.graceful_shutdown.remote(wait=False), timeout=timeout_s)
    deadline = time.monotonic() + timeout_s
    while _controller_lives() and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    _disconnect()  # type: ignore[no-untyped-call]


def _controller_lives() -> bool:
    try:
        ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    except ValueError:
        return False
    return True


def cluster_problem(content: Mapping[str, Any]) -> str | None:
    """What is wrong with a `cluster.yaml`, as `ray up` would say; None where it takes it. Ray has no public check."""
    try:
        validate_config(prepare_config(deepcopy(dict(content))))
    except ValidationError as error:
        return f"{'.'.join(map(str, error.absolute_path)) or 'the file'}: {error.message}"
    except (ClickException, KeyError, TypeError, ValueError, RuntimeError) as error:
        return str(error) or "Ray does not take it"
    return None
