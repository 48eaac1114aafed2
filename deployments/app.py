"""The applications that `serve_config.yaml` names: `model`, `pipeline`, `embeddings`, `server` and `telemetry`.

Here and in `deployments.stages.deployed` the package meets Ray Serve; what each has around it is `deployments.serving`.
The classes stay plain and are wrapped by their builders, so that they run and are tested without a cluster.
"""

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import ray
from pydantic import BaseModel
from ray import serve
from ray.serve import Application, Deployment

from deployments.access.guard import (
    of_model,
    of_page,
    of_server,
)
from deployments.batching.calls import Outputs
from deployments.embeddings.actors import RayKeeper
from deployments.embeddings.calls import RayShards
from deployments.embeddings.http import EmbeddingApp
from deployments.embeddings.http import Limits as EmbeddingLimits
from deployments.embeddings.mapped import MappedTable
from deployments.embeddings.reader import Reader
from deployments.embeddings.remote import RemoteTable
from deployments.embeddings.settings import EmbeddingSettings
from deployments.errors import UnavailableError
from deployments.execution.byte_budget import ByteBudget
from deployments.execution.load import load_predictor
from deployments.execution.predicting import Predicting
from deployments.execution.predictor import Predictor
from deployments.http.asgi import JSON, Answer, Call, call, error_body
from deployments.http.model import ModelApp
from deployments.http.server import Cluster, model_of, server_app
from deployments.http.versioned import VersionedModel
from deployments.ingress import fast_path
from deployments.ingress.log import LOG_TARGET, SERVICE, IngressLog
from deployments.oip import grpc_service
from deployments.oip.statistics import ModelStatistics
from deployments.raw.inputs import raw_input
from deployments.ray_private import AsgiReplica, KeyValueStore
from deployments.replicas import repository, source
from deployments.replicas.agreement import Agreement
from deployments.replicas.applications import MODELS, TABLES, Applications
from deployments.replicas.demand import Demand
from deployments.replicas.placement import actor_options
from deployments.replicas.scaling import replicas
from deployments.replicas.status import VersionStatus
from deployments.replicas.versions import Versions
from deployments.serving import checked, emitter_of, gate_of, open_service
from deployments.settings import AccessSettings, CascadeSettings, ModelSettings, ServerSettings, parse, split_access
from deployments.stages import deployed
from deployments.stages.answering import answered
from deployments.stages.cascade import CascadePredictor, LocalTeacher, Teacher, calibrated
from deployments.stages.declared import PipelineSettings
from deployments.stages.part import Part, Refusal
from deployments.stages.plan import planned
from deployments.stages.remote import OtherReplicas
from deployments.stages.remote_teacher import RemoteTeacher
from optimization.artifact.store import load
from telemetry.collector import Collector, CollectorConfig

ON_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
"""Ray's resource that only the head node has: the collector lives where every replica can find it, and `server` where
the head's ingress sends its log."""


@grpc_service.with_rpcs
class Model(AsgiReplica):
    """A replica: each version of its artifact is verified, loaded and warm before it takes requests."""

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._emitter = emitter_of(settings, settings.artifact, "", "replica")
        self._budget = ByteBudget(settings.max_queue_bytes)
        self._others = OtherReplicas(settings.artifact) if settings.scaling.max_replicas > 1 else None
        self._tables = {each.table: RemoteTable(each.table) for each in settings.embeddings.values()}
        self._versions = Versions(
            settings.source(),
            self._load,
            policy=settings.version,
            keep=settings.keep_versions,
            emitter=self._emitter,
            agreement=Agreement(
                KeyValueStore(),
                settings.artifact,
                serve.get_replica_context().replica_id.unique_id,
                settings.version,
            ),
        )
        self._demand = Demand(self._emitter, lambda: self._versions.ongoing, num_cpus=settings.num_threads)
        app = VersionedModel(self._versions, self._emitter)
        gate = gate_of(settings, settings.artifact)
        self._app = fast_path.open_fast_path(
            f"/v2/models/{settings.artifact}",
            checked(app, gate, of_model(settings.artifact)),
            speed=self._speed,
            needs_client_address=gate is not None,
        )
        open_service(self._app, self.ask, gate, settings)

    def _speed(self) -> float:
        held = self._versions.answering
        predictor = held.app.predictor if held and isinstance(held.app, ModelApp) else None
        return predictor.speed if isinstance(predictor, Predictor) else 0.0

    def _load(self, path: Path) -> ModelApp:
        settings = self._settings
        artifact = load(path)
        has_gpu = bool(ray.get_gpu_ids())
        predictor = load_predictor(
            artifact,
            settings,
            has_gpu=has_gpu,
            emitter=self._emitter,
            others=self._others,
            tables=self._tables,
        )
        return ModelApp(
            predictor if settings.cascade is None else self._cascaded(predictor, settings.cascade),
            raw=raw_input(artifact.manifest),
            max_batch_size=settings.max_batch_size,
            max_body_bytes=settings.max_body_bytes,
            budget=self._budget,
            emitter=self._emitter,
            versions=lambda: self._versions.ready(),
            everywhere=partial(repository.statistics, settings.artifact),
        )

    def _cascaded(self, student: Predictor, cascade: CascadeSettings) -> Predicting:
        """The model, and its teacher for what it is not sure of."""
        found = calibrated(student.manifest, cascade.teacher)
        return CascadePredictor(
            student,
            self._teacher(found.teacher, cascade),
            found,
            timeout_s=cascade.timeout_s,
            without_teacher=cascade.without_teacher,
            emitter=self._emitter,
        )

    def _teacher(self, teacher: str, cascade: CascadeSettings) -> Teacher:
        """Who answers what this model is not sure of: `teacher` is its name and version."""
        name, _, version = teacher.rpartition("/")
        if not cascade.in_process:
            return RemoteTeacher(name, version)
        settings = self._settings.model_copy(update={"artifact": name, "cascade": None, "cache_bytes": 0})
        copy = settings.source().fetch(version)
        emitter = emitter_of(settings, name, version, "teacher")
        has_gpu = bool(ray.get_gpu_ids())
        predictor = load_predictor(load(copy.path), settings, has_gpu=has_gpu, emitter=emitter, tables=self._tables)
        return LocalTeacher(predictor, emitter, copy.release)

    async def ask(self, request: Call) -> Answer:
        """What this replica answers; by name, `Server` calls this as well."""
        return await call(self._app, request, self._app.prefix)

    async def answer_part(self, part: Part) -> Outputs | Refusal:
        """Rows of a large request that another replica got, and checked; `deployments.stages.remote` calls this."""
        return await answered(part, self._versions.find, self._budget)

    def check_health(self) -> None:
        """Ray calls this from time to time, and replaces a replica that stays behind the others.

        Raises:
            UnavailableError: it cannot answer by the version that the others do.
        """
        if stuck := self._versions.stuck():
            raise UnavailableError(stuck)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Load since the last call; Ray calls this where the application scales."""
        return self._demand.read()

    async def statistics(self) -> list[ModelStatistics]:
        """What each version has answered in this replica; `deployments.replicas.repository` adds the replicas up."""
        return [each.predictor.statistics.snapshot() for each in self._versions.held() if isinstance(each, ModelApp)]

    async def reload_versions(self) -> list[VersionStatus]:
        """Follow the last order now; `deployments.replicas.repository` calls this on every replica."""
        return await self._versions.reload()

    async def versions(self) -> list[VersionStatus]:
        """What this replica holds."""
        return self._versions.index()


class Embeddings(AsgiReplica):
    """A reader of a table, called by HTTP; the rows lie in actors that outlive it."""

    def __init__(self, settings: EmbeddingSettings) -> None:
        keeper = RayKeeper(settings)
        table = settings.shape()
        self._health = keeper.health
        reader = Reader(table, RayShards(table), keeper.view, settings.reading(), near=MappedTable(table))
        app = EmbeddingApp(
            reader,
            keeper.health,
            limits=EmbeddingLimits(max_request_ids=settings.max_request_ids, max_body_bytes=settings.max_body_bytes),
            tasks=lambda: [keeper.renew(), reader.follow()],
            emitter=emitter_of(settings, settings.table, "", "embeddings"),
        )
        gate = gate_of(settings, settings.table)
        self._app = checked(app, gate, of_model(settings.table))

    async def is_whole(self) -> bool:
        """Whether each row has all its copies; `deployments.replicas.repository` calls this."""
        return bool((await self._health()).get("whole"))


@grpc_service.with_rpcs
class Server(AsgiReplica):
    """The endpoints that speak for all models."""

    def __init__(self, settings: ServerSettings) -> None:
        target = os.environ.get(LOG_TARGET)
        ingress = IngressLog(target, emitter_of(settings, SERVICE, "", "ingress", trace_ratio=0.0)) if target else None
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
        app = server_app(cluster, emitter, ingress, trace_ratio=settings.trace_ratio)
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


class Telemetry(AsgiReplica):
    """The collector: OTLP in, series, detectors, alerts, and the page."""

    def __init__(self, config: CollectorConfig, access: AccessSettings) -> None:
        self._app = checked(Collector(config).asgi, gate_of(access, "telemetry"), of_page)


def model(args: dict[str, Any]) -> Application:
    """One model at its route; `args` are `ModelSettings`."""
    settings = parse(ModelSettings, args, "args")
    source.find(settings.source(), settings.answering)
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return _application(
        Model,
        settings,
        # Ray's own count, for requests that come by its path: the batcher refuses what is too much.
        max_ongoing_requests=settings.max_batch_size + settings.max_queue_size,
        ray_actor_options=actor_options(settings, cluster, onnxruntime.get_available_providers()),
        **replicas(settings),
    )


def pipeline(args: dict[str, Any]) -> Application:
    """Stages that are called as one model, at its route; `args` are `PipelineSettings`."""
    settings = parse(PipelineSettings, args, "args")
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return deployed.application(planned(settings), cluster)


def embeddings(args: dict[str, Any]) -> Application:
    """A table of embeddings at its route; `args` are `EmbeddingSettings`."""
    settings = parse(EmbeddingSettings, args, "args")
    return _application(Embeddings, settings, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})


def server(args: dict[str, Any]) -> Application:
    """The server-level endpoints; `args` are `ServerSettings`."""
    settings = parse(ServerSettings, args, "args")
    return _application(Server, settings, max_ongoing_requests=100, ray_actor_options=ON_HEAD)


def telemetry(args: dict[str, Any]) -> Application:
    """The collector and its page; `args` are `CollectorConfig`, its host from `TRIMTAB_HOST` where they name none, and
    `AccessSettings`."""
    access, rest = split_access(args)
    config = parse(CollectorConfig, {"host": os.environ.get("TRIMTAB_HOST", "127.0.0.1"), **rest}, "args")
    settings = parse(AccessSettings, access, "args")
    return _application(Telemetry, config, settings, max_ongoing_requests=100, ray_actor_options=ON_HEAD)


def _application(ingress: type, *settings: BaseModel, **options: Any) -> Application:
    wrapped = serve.ingress()(ingress)
    deployment: Deployment = serve.deployment(**options)(wrapped)
    return deployment.bind(*settings)
