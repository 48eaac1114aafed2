"""What all applications have alike: how they are deployed, who is answered, gRPC, and where they report."""

from collections.abc import Callable
from typing import Any

from ray import serve
from ray.serve import Application, Deployment
from starlette.types import ASGIApp, Scope

from deployments.access.audit import AuditLog
from deployments.access.gate import Gate, KeyRing, Need
from deployments.access.guard import CallGuard, audit_path, guarded, is_loopback, keys_file
from deployments.access.origin import without_other_sites
from deployments.collector import collector_url
from deployments.ingress import fast_path
from deployments.oip import grpc_service
from deployments.ray_private import http_host
from deployments.settings import AccessSettings, ServerSettings
from telemetry.emitting import resources
from telemetry.emitting.emitter import Emitter

ON_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
"""Ray's resource that only the head node has: the collector lives where every replica can find it, and `server` where
the head's ingress sends its log."""
DRAIN_S = 120.0
"""How long a replica that goes has for what it has begun, such as streams; one that has nothing left goes at once. As
long as a process of the ingress has that was replaced."""
LOOK_EVERY_S = 2.0
"""How often Ray's controller looks whether a replica lives: only then it notices that one was killed."""


def application(ingress: type, *settings: object, **options: Any) -> Application:
    """`ingress`, which answers HTTP by its `_app`, deployed with these `options` of Serve's and made of `settings`."""
    wrapped = serve.ingress()(ingress)
    deployment: Deployment = serve.deployment(health_check_period_s=LOOK_EVERY_S, **options)(wrapped)
    return deployment.bind(*settings)


def gate_of(settings: AccessSettings, name: str) -> Gate | None:
    """Access control where a file of keys is named; refuses to start where it must be and is not."""
    file = keys_file(settings.access, http_host())
    if file is None:
        return None
    log = audit_path(settings.audit, f"{name}-{serve.get_replica_context().replica_id.unique_id}")
    return Gate(KeyRing(file), AuditLog(log) if log else None)


def checked(app: ASGIApp, gate: Gate | None, need: Callable[[Scope], Need]) -> ASGIApp:
    """`app` behind `gate`; where everyone is answered, out of the reach of other sites' pages."""
    if gate is not None:
        return guarded(app, gate, need)
    return without_other_sites(app, need, any_host=not is_loopback(http_host()))


def open_service(path: fast_path.FastPath, ask: grpc_service.Ask, gate: Gate | None, settings: ServerSettings) -> None:
    """Answer by gRPC too; this machine alone, where HTTP does so and there are no keys."""
    is_local = gate is None and is_loopback(http_host())
    grpc_service.open_service(
        path,
        grpc_service.from_loopback(ask) if is_local else ask,
        guard=CallGuard(gate) if gate else None,
        max_body_bytes=settings.max_body_bytes,
    )


def emitter_of(
    settings: ServerSettings, service: str, version: str, role: str, trace_ratio: float | None = None
) -> Emitter:
    """What reports this process as `service`, and what it takes of CPU and memory."""
    emitter = plain_emitter(settings, service, version, role, trace_ratio)
    resources.observe(emitter)
    return emitter


def plain_emitter(
    settings: ServerSettings, service: str, version: str, role: str, trace_ratio: float | None = None
) -> Emitter:
    """One that says nothing of its process: several services may share it."""
    return Emitter(
        service=service,
        version=version,
        role=role,
        instance=serve.get_replica_context().replica_id.unique_id,
        endpoint=settings.telemetry_endpoint or collector_url(),
        trace_ratio=settings.trace_ratio if trace_ratio is None else trace_ratio,
        slow_s=settings.trace_slow_s,
    )
