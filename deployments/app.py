"""The applications that `serve_config.yaml` names: `model`, `pipeline`, `embeddings`, `server` and `telemetry`.

This is the one file of the package, beside the `serve` command, that knows Ray Serve. The classes stay plain and are
wrapped here, so that they run and are tested without a cluster.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import ray
from pydantic import BaseModel
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Scope

from deployments.access.audit import AuditLog
from deployments.access.gate import Gate, KeyRing, Need
from deployments.access.guard import (
    CallGuard,
    audit_path,
    guarded,
    is_loopback,
    keys_file,
    of_model,
    of_page,
    of_server,
)
from deployments.access.origin import without_other_sites
from deployments.batching.calls import Outputs
from deployments.embeddings.actors import RayKeeper
from deployments.embeddings.calls import RayShards
from deployments.embeddings.http import EmbeddingApp
from deployments.embeddings.http import Limits as EmbeddingLimits
from deployments.embeddings.mapped import MappedTable
from deployments.embeddings.reader import Reader
from deployments.embeddings.remote import RemoteTable
from deployments.embeddings.settings import EmbeddingSettings
from deployments.errors import RequestError, UnavailableError
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
from deployments.ray_private import AsgiReplica, KeyValueStore, http_host
from deployments.replicas import repository, source
from deployments.replicas.agreement import Agreement, order_key, ordered
from deployments.replicas.applications import MODELS, TABLES, Applications
from deployments.replicas.demand import Demand
from deployments.replicas.placement import actor_options, function_options
from deployments.replicas.scaling import replicas
from deployments.replicas.status import VersionStatus
from deployments.replicas.versions import Versions
from deployments.settings import AccessSettings, CascadeSettings, ModelSettings, ServerSettings, parse, split_access
from deployments.stages.answering import answered
from deployments.stages.asking import AskedStage
from deployments.stages.cascade import CascadePredictor, LocalTeacher, Teacher, calibrated
from deployments.stages.declared import PipelineSettings
from deployments.stages.http import PipelineApp
from deployments.stages.loading import preparation_of, stage_loader, stage_source
from deployments.stages.part import Part, Refusal
from deployments.stages.plan import Plan, PlannedStage, planned
from deployments.stages.predictor import PipelinePredictor
from deployments.stages.remote import OtherReplicas
from deployments.stages.remote_teacher import RemoteTeacher
from deployments.stages.socket import StageSocket
from deployments.stages.stage_call import StageAnswer, StageCall, stored
from deployments.stages.stage_replicas import Address, RayStore, StageReplicas, own_address
from deployments.stages.worker import Worker
from optimization.artifact.store import load
from telemetry.collector import Collector, CollectorConfig
from telemetry.emitting import resources
from telemetry.emitting.emitter import Emitter

ON_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
"""Ray's resource that only the head node has: the collector lives where every replica can find it, and `server` where
the head's ingress sends its log."""


@grpc_service.with_rpcs
class Model(AsgiReplica):
    """A replica: each version of its artifact is verified, loaded and warm before it takes requests."""

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._emitter = _emitter(settings, settings.artifact, "", "replica")
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
        gate = _gate(settings, settings.artifact)
        self._app = fast_path.open_fast_path(
            f"/v2/models/{settings.artifact}",
            _checked(app, gate, of_model(settings.artifact)),
            speed=self._speed,
            needs_client_address=gate is not None,
        )
        _open_service(self._app, self.ask, gate, settings)

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
        emitter = _emitter(settings, name, version, "teacher")
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


class Stage:
    """A replica of one stage of a pipeline; the processes that take the pipeline's requests call it."""

    def __init__(self, plan: Plan, name: str) -> None:
        """Made in the event loop that it lives in."""
        stage = plan.stages[name]
        self._store = RayStore()
        self._worker = _worker(plan, stage, self._store, has_gpu=bool(ray.get_gpu_ids()))
        self._demand = Demand(
            self._worker.emitter, lambda: self._worker.versions.ongoing, num_cpus=stage.settings.num_threads
        )
        self._socket = StageSocket(self._worker.answer)
        resources.observe(self._worker.emitter)
        self._worker.start()
        self._listening = asyncio.ensure_future(self._socket.start())

    async def answer_call(self, call: StageCall) -> StageAnswer:
        """What the stage gives; large tensors lie in Ray's object store."""
        answer = await self._worker.answer(call)
        if not isinstance(answer, dict):
            return answer
        return {each: stored(tensor, self._store) for each, tensor in answer.items()}

    async def address(self, _: None) -> Address:
        """Where processes of this node call it without Ray."""
        await self._listening
        return own_address(self._socket.path)

    def check_health(self) -> None:
        """Ray calls this from time to time, and replaces a replica that stays behind the others.

        Raises:
            UnavailableError: it cannot answer by the version that the others do.
        """
        if stuck := self._worker.versions.stuck():
            raise UnavailableError(stuck)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Load since the last call; Ray calls this where the stage scales."""
        return self._demand.read()

    async def __del__(self) -> None:
        """Ray calls this as the replica goes; what came by the socket it did not see is answered first."""
        await self._worker.stop()
        await self._socket.stop()


@grpc_service.with_rpcs
class Pipeline(AsgiReplica):
    """A replica that takes a pipeline's requests and asks its stages; those without replicas of their own run in it."""

    def __init__(self, plan: Plan, *_: DeploymentHandle[Any]) -> None:
        """The handles are those of the stages, which Serve deploys since they are given here."""
        settings, name = plan.settings, plan.manifest.name
        self._name = name
        self._emitter = _emitter(settings, name, plan.manifest.version, "pipeline")
        store = RayStore()
        own = {stage.declared.name: _worker(plan, stage, store, has_gpu=False) for stage in plan.own()}
        found = StageReplicas(plan.stages)
        stages = {
            each: AskedStage(
                each,
                partial(list, (own[each],)) if each in own else found.of(each),
                found.look,
                is_remote=each not in own,
                emitter=self._emitter,
            )
            for each in plan.stages
        }
        self._predictor = PipelinePredictor(
            plan, stages, found.versions, found.look, store, prepare=preparation_of(plan)
        )
        model = ModelApp(
            self._predictor,
            raw=raw_input(plan.manifest),
            max_body_bytes=settings.max_body_bytes,
            budget=ByteBudget(settings.max_queue_bytes),
            emitter=self._emitter,
            everywhere=partial(repository.statistics, name),
        )
        app = PipelineApp(
            name,
            model,
            list(own.values()),
            keep_looking=found.keep_looking,
            missing=found.missing,
            emitter=self._emitter,
        )
        self._demand = Demand(self._emitter, lambda: self._predictor.ongoing, num_cpus=1)
        gate = _gate(settings, name)
        self._app = fast_path.open_fast_path(
            f"/v2/models/{name}", _checked(app, gate, of_model(name)), needs_client_address=gate is not None
        )
        _open_service(self._app, self.ask, gate, settings)

    async def ask(self, request: Call) -> Answer:
        """What this replica answers; by name, `Server` calls this as well."""
        return await call(self._app, request, self._app.prefix)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Load since the last call; Ray calls this where the application scales."""
        return self._demand.read()

    async def statistics(self) -> list[ModelStatistics]:
        """What the pipeline has answered in this replica; `deployments.replicas.repository` adds the replicas up."""
        return [self._predictor.statistics.snapshot()]

    async def reload_versions(self) -> list[VersionStatus]:
        """Stages follow their artifacts by themselves; `deployments.replicas.repository` calls this on every replica.

        Raises:
            RequestError: it was ordered to go.
        """
        if await asyncio.to_thread(ordered, KeyValueStore(), order_key(self._name)) is not None:
            raise RequestError(f"pipeline {self._name!r} cannot be unloaded: take it out of serve_config.yaml")
        return await self.versions()

    async def versions(self) -> list[VersionStatus]:
        """The one that there is."""
        return [VersionStatus(version=self._predictor.manifest.version, state="READY", reason="")]


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
            emitter=_emitter(settings, settings.table, "", "embeddings"),
        )
        gate = _gate(settings, settings.table)
        self._app = _checked(app, gate, of_model(settings.table))

    async def is_whole(self) -> bool:
        """Whether each row has all its copies; `deployments.replicas.repository` calls this."""
        return bool((await self._health()).get("whole"))


@grpc_service.with_rpcs
class Server(AsgiReplica):
    """The endpoints that speak for all models."""

    def __init__(self, settings: ServerSettings) -> None:
        target = os.environ.get(LOG_TARGET)
        ingress = IngressLog(target, _emitter(settings, SERVICE, "", "ingress", trace_ratio=0.0)) if target else None
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
        emitter = _emitter(settings, "server", "", "server")
        app = server_app(cluster, emitter, ingress, trace_ratio=settings.trace_ratio)
        gate = _gate(settings, "server")
        self._app = fast_path.FastPath("/v2", _checked(app, gate, of_server))
        _open_service(self._app, self.ask, gate, settings)

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
        self._app = _checked(Collector(config).asgi, _gate(access, "telemetry"), of_page)


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
    plan = planned(settings)
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    apart = [stage for stage in plan.stages.values() if stage.declared.own_replicas]
    stages = [_stage(stage, cluster).bind(plan, stage.declared.name) for stage in apart]
    takers: Deployment = serve.deployment(
        name=repository.DEPLOYMENT,
        max_ongoing_requests=settings.max_queue_size,
        ray_actor_options={"num_cpus": plan.num_cpus},
        **replicas(ModelSettings(artifact=settings.name, scaling=settings.scaling)),
    )(serve.ingress()(Pipeline))
    return takers.bind(plan, *stages)


def _stage(stage: PlannedStage, cluster: dict[str, float]) -> Deployment:
    settings = stage.settings
    if stage.declared.artifact:
        options = actor_options(settings, cluster, onnxruntime.get_available_providers())
    else:
        options = function_options(settings, cluster)
    if stage.declared.num_cpus is not None:
        options["num_cpus"] = stage.declared.num_cpus
    deployment: Deployment = serve.deployment(
        name=stage.declared.name,
        max_ongoing_requests=settings.max_batch_size + settings.max_queue_size,
        ray_actor_options=options,
        **replicas(settings),
    )(Stage)
    return deployment


def _worker(plan: Plan, stage: PlannedStage, store: RayStore, *, has_gpu: bool) -> Worker:
    """That stage in this process, reported as a service of its own."""
    name, settings = stage.declared.name, stage.settings
    emitter = _plain_emitter(settings, f"{plan.manifest.name}.{name}", "", "stage")
    versions = Versions(
        stage_source(stage),
        stage_loader(stage, has_gpu=has_gpu, emitter=emitter),
        policy=settings.version,
        keep=settings.keep_versions,
        emitter=emitter,
        agreement=Agreement(
            KeyValueStore(), stage.group, f"{name}:{serve.get_replica_context().replica_id.unique_id}", settings.version
        ),
    )
    return Worker(
        name,
        f"/v2/models/{plan.manifest.name}/infer",
        versions,
        budget=ByteBudget(settings.max_queue_bytes),
        store=store,
        emitter=emitter,
    )


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


def _gate(settings: AccessSettings, name: str) -> Gate | None:
    """Access control where a file of keys is named; refuses to start where it must be and is not."""
    file = keys_file(settings.access, http_host())
    if file is None:
        return None
    log = audit_path(settings.audit, f"{name}-{serve.get_replica_context().replica_id.unique_id}")
    return Gate(KeyRing(file), AuditLog(log) if log else None)


def _checked(app: ASGIApp, gate: Gate | None, need: Callable[[Scope], Need]) -> ASGIApp:
    """`app` behind `gate`; where everyone is answered, out of the reach of other sites' pages."""
    if gate is not None:
        return guarded(app, gate, need)
    return without_other_sites(app, need, any_host=not is_loopback(http_host()))


def _open_service(path: fast_path.FastPath, ask: grpc_service.Ask, gate: Gate | None, settings: ServerSettings) -> None:
    """Answer by gRPC too; this machine alone, where HTTP does so and there are no keys."""
    is_local = gate is None and is_loopback(http_host())
    grpc_service.open_service(
        path,
        grpc_service.from_loopback(ask) if is_local else ask,
        guard=CallGuard(gate) if gate else None,
        max_body_bytes=settings.max_body_bytes,
    )


def _emitter(
    settings: ServerSettings, service: str, version: str, role: str, trace_ratio: float | None = None
) -> Emitter:
    emitter = _plain_emitter(settings, service, version, role, trace_ratio)
    resources.observe(emitter)
    return emitter


def _plain_emitter(
    settings: ServerSettings, service: str, version: str, role: str, trace_ratio: float | None = None
) -> Emitter:
    """One that says nothing of its process: several services may share it."""
    return Emitter(
        service=service,
        version=version,
        role=role,
        instance=serve.get_replica_context().replica_id.unique_id,
        endpoint=settings.telemetry_endpoint or _collector_endpoint(),
        trace_ratio=settings.trace_ratio if trace_ratio is None else trace_ratio,
    )


def _collector_endpoint() -> str | None:
    """The collector on Ray's head node, or none where the SDK's own variable says otherwise."""
    if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
        return None
    head = ray.get_runtime_context().gcs_address.rpartition(":")[0]
    on_head = head == ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return f"http://{'localhost' if on_head else head}:4317"
