"""The applications that `serve_config.yaml` names: `model`, `server` and `telemetry`.

This is the one file of the package, beside the `serve` command, that knows Ray Serve. The classes stay plain and are
wrapped here, so that they run and are tested without a cluster.
"""

import os
from collections.abc import Mapping
from typing import Any

import ray
from pydantic import BaseModel
from ray import serve
from ray.serve import Application, Deployment
from starlette.types import ASGIApp

from deployments import lane
from deployments.ingress import LOG_TARGET, SERVICE, IngressLog
from deployments.model import ModelApp
from deployments.server import server_app
from deployments.session import Session
from deployments.settings import ModelSettings, ServerSettings, parse
from optimization.artifact import find, load
from telemetry import resources
from telemetry.collector import Collector, CollectorConfig
from telemetry.emit import Emitter

HEAD_NODE = {"node:__internal_head__": 0.001}
"""Ray's resource that only the head node has: the collector lives where every replica can find it."""


class Model:
    """A replica: one artifact, verified, loaded and warm before it takes requests."""

    def __init__(self, settings: ModelSettings) -> None:
        artifact = load(find(settings.artifacts, settings.artifact, settings.version))
        session = Session(artifact, num_threads=settings.num_threads, max_batch_size=settings.max_batch_size)
        emitter = _emitter(settings, settings.artifact, artifact.manifest.version, "replica")
        app = ModelApp(
            artifact.manifest,
            session.run,
            max_batch_size=session.max_batch_size,
            inline=session.is_quick,
            max_body_bytes=settings.max_body_bytes,
            emitter=emitter,
        )
        self._app = lane.open_lane(f"/v2/models/{settings.artifact}", app)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._app


class Server:
    """The endpoints that speak for all models."""

    def __init__(self, settings: ServerSettings) -> None:
        target = os.environ.get(LOG_TARGET)
        ingress = IngressLog(target, _emitter(settings, SERVICE, "", "ingress", trace_ratio=0.0)) if target else None
        self._app = server_app(_models, _emitter(settings, "server", "", "server"), ingress)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._app


class Telemetry:
    """The collector: OTLP in, series, detectors, alerts, and the page."""

    def __init__(self, config: CollectorConfig) -> None:
        self._collector = Collector(config)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._collector.asgi


def model(args: dict[str, Any]) -> Application:
    """One model at its route; `args` are `ModelSettings`."""
    settings = parse(ModelSettings, args, "args")
    find(settings.artifacts, settings.artifact, settings.version)
    return _application(
        Model,
        settings,
        # One full batch in the model and one that gathers meanwhile: more would only wait here.
        max_ongoing_requests=2 * settings.max_batch_size,
        ray_actor_options={"num_cpus": settings.num_threads},
    )


def server(args: dict[str, Any]) -> Application:
    """The server-level endpoints; `args` are `ServerSettings`."""
    settings = parse(ServerSettings, args, "args")
    return _application(Server, settings, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})


def telemetry(args: dict[str, Any]) -> Application:
    """The collector and its page; `args` are `CollectorConfig`, its host from `TRIMTAB_HOST` where they name none."""
    config = parse(CollectorConfig, {"host": os.environ.get("TRIMTAB_HOST", "127.0.0.1"), **args}, "args")
    options = {"num_cpus": 0, "resources": HEAD_NODE}
    return _application(Telemetry, config, max_ongoing_requests=100, ray_actor_options=options)


def _application(ingress: type, settings: BaseModel, **options: Any) -> Application:
    wrapped = serve.ingress()(ingress)
    deployment: Deployment = serve.deployment(**options)(wrapped)
    return deployment.bind(settings)


def _models() -> Mapping[str, bool]:
    """Models of this cluster, and whether each has all it needs to answer."""
    return {
        name: application.status == "RUNNING"
        for name, application in serve.status().applications.items()
        if Model.__name__ in application.deployments or application.status in ("DEPLOYING", "DEPLOY_FAILED")
    }


def _emitter(
    settings: ServerSettings, service: str, version: str, role: str, trace_ratio: float | None = None
) -> Emitter:
    emitter = Emitter(
        service=service,
        version=version,
        role=role,
        instance=serve.get_replica_context().replica_id.unique_id,
        endpoint=settings.telemetry_endpoint or _collector_endpoint(),
        trace_ratio=settings.trace_ratio if trace_ratio is None else trace_ratio,
    )
    resources.observe(emitter)
    return emitter


def _collector_endpoint() -> str | None:
    """The collector on Ray's head node, or none where the SDK's own variable says otherwise."""
    if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
        return None
    head = ray.get_runtime_context().gcs_address.rpartition(":")[0]
    on_head = head == ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return f"http://{'localhost' if on_head else head}:4317"
