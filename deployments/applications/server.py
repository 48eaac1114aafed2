"""The endpoints that speak for all models."""

import asyncio
import os
from typing import Any

from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from deployments.access.guard import of_server
from deployments.applications.replica import (
    ON_HEAD,
    application,
    checked,
    emitter_of,
    gate_of,
    open_service,
    plain_emitter,
)
from deployments.applications.rollouts import RayCluster
from deployments.errors import UnavailableError
from deployments.http.asgi import JSON, Answer, Call, call, error_body
from deployments.http.server import Cluster, model_of, server_app
from deployments.ingress import fast_path
from deployments.ingress.log import LOG_TARGET, SERVICE, IngressLog
from deployments.oip import grpc_service
from deployments.ray_private import AsgiReplica, KeyValueStore
from deployments.replicas import repository
from deployments.replicas.applications import MODELS, TABLES, Applications
from deployments.replicas.every_node import OnNode, on_every_node
from deployments.rollout.controller import Controller
from deployments.rollout.history import default_folder
from deployments.rollout.markers import Markers
from deployments.rollout.shared import Shared
from deployments.settings import SpeakerSettings, parse


@grpc_service.with_rpcs
class Server(AsgiReplica):
    """The endpoints that speak for all models."""

    def __init__(self, settings: SpeakerSettings, *_: DeploymentHandle[OnNode]) -> None:
        target = os.environ.get(LOG_TARGET)
        ingress = (
            IngressLog(target, plain_emitter(settings, SERVICE, "", "ingress", trace_ratio=0.0)) if target else None
        )
        self._models, tables = Applications(MODELS), Applications(TABLES)
        cluster = Cluster(
            models=self._models,
            tables=tables,
            is_whole=repository.is_whole,
            index=repository.index,
            load=repository.load,
            unload=repository.unload,
            statistics=repository.statistics,
            behind=repository.Watch().behind,
        )
        emitter = emitter_of(settings, "server", "", "server")
        rollouts = Controller(
            settings.rollout_dir or default_folder(), Shared(KeyValueStore()), RayCluster(), Markers(emitter).tell
        )
        app = server_app(cluster, emitter, ingress, trace_ratio=settings.trace_ratio, rollouts=rollouts)
        gate = gate_of(settings, "server")
        self._app = fast_path.FastPath("/v2", checked(app, gate, of_server))
        open_service(self._app, self.ask, gate, settings)

    async def ask(self, request: Call) -> Answer:
        """What this application answers, or the model that the path names: its replicas check the key."""
        name = model_of(request.path)
        if name is not None and (await asyncio.to_thread(self._models)).get(name):
            try:
                return await repository.ask(name, request)
            except UnavailableError as problem:
                return Answer(status=problem.status, headers=JSON, body=error_body(str(problem)))
        return await call(self._app, request, self._app.prefix)


def server(args: dict[str, Any]) -> Application:
    """The server-level endpoints; `args` are `SpeakerSettings`."""
    settings = parse(SpeakerSettings, args, "args")
    nodes = on_every_node()
    beside = () if nodes is None else (nodes,)
    return application(Server, settings, *beside, max_ongoing_requests=100, ray_actor_options=ON_HEAD)
