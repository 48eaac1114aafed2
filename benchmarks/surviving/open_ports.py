"""Which ports of hosts answer whoever has neither token nor key, by HTTP and gRPC."""

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import grpc
import httpx

from tests.hosts.maker import Host

_GOT = ("/", "/api/version", "/api/v0/nodes", "/api/jobs/", "/metrics", "/logs", "/v2", "/v2/repository/index")
_CALLED = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.ActorInfoGcsService/GetAllActorInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.RayletDriver/GetClusterInfo",
    "/ray.serve.RayServeAPIService/ListApplications",
    "/inference.GRPCInferenceService/RepositoryIndex",
)
_HEALTH_GOT = ("/v2/health/live", "/v2/health/ready", "/-/healthz")
_HEALTH_CALLED = ("/inference.GRPCInferenceService/ServerLive",)
"""What docs/access.md says needs no key, for load balancers."""
_REFUSED = (401, 403, 404)
_TIMEOUT_S = 3.0
_LOGIN = 22


@dataclass(frozen=True, kw_only=True)
class Answering:
    """A port that gave more than a refusal, and to what."""

    where: str
    asked: str
    is_health: bool
    """Whether all that it told is that it lives."""

    def __str__(self) -> str:
        return f"{self.where} {self.asked}"


def found(hosts: Iterable[Host], address_of: Callable[[Host], str]) -> list[Answering]:
    """Those among all ports on which each host listens, reached at that address; SSH, which asks for a key, aside."""
    answering = []
    for host in hosts:
        for port in sorted(host.listening().keys() - {_LOGIN}):
            where = f"{address_of(host)}:{port}"
            if asked := _answered(where):
                answering.append(
                    Answering(
                        where=f"{host.name}:{port}", asked=asked, is_health=asked in (*_HEALTH_GOT, *_HEALTH_CALLED)
                    )
                )
    return answering


def _answered(where: str) -> str | None:
    """What the port answers, if anything; health comes last, since all else tells more."""
    tries = (
        *((_gets, path) for path in _GOT),
        *((_calls, method) for method in _CALLED),
        *((_gets, path) for path in _HEALTH_GOT),
        *((_calls, method) for method in _HEALTH_CALLED),
    )
    return next((asked for ask, asked in tries if ask(where, asked)), None) if _listens(where) else None


def _listens(where: str) -> bool:
    host, _, port = where.rpartition(":")
    with suppress(OSError):
        socket.create_connection((host, int(port)), timeout=_TIMEOUT_S).close()
        return True
    return False


def _gets(where: str, path: str) -> bool:
    with suppress(httpx.HTTPError):  # it speaks something else
        return httpx.get(f"http://{where}{path}", timeout=_TIMEOUT_S).status_code not in _REFUSED
    return False


def _calls(where: str, method: str) -> bool:
    with grpc.insecure_channel(where) as channel, suppress(grpc.RpcError):
        channel.unary_unary(method, None, None)(b"", timeout=_TIMEOUT_S)
        return True
    return False
