"""A pipeline in Ray Serve: one deployment takes the requests, and each stage with replicas of its own is another."""

import asyncio
from functools import partial
from typing import Any

import onnxruntime
import ray
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.handle import DeploymentHandle

from deployments.access.guard import of_model
from deployments.applications.replica import (
    DRAIN_S,
    LOOK_EVERY_S,
    checked,
    emitter_of,
    gate_of,
    open_service,
    plain_emitter,
)
from deployments.errors import RequestError, UnavailableError
from deployments.execution.attempt import trial_of
from deployments.execution.byte_budget import ByteBudget
from deployments.http.asgi import Answer, Call, call
from deployments.http.model import ModelApp
from deployments.ingress import fast_path
from deployments.oip import grpc_service
from deployments.oip.statistics import ModelStatistics
from deployments.raw.inputs import raw_input
from deployments.ray_private import AsgiReplica, KeyValueStore
from deployments.replicas import repository
from deployments.replicas.agreement import Agreement, order_key, ordered
from deployments.replicas.demand import Demand
from deployments.replicas.placement import actor_options, function_options
from deployments.replicas.scaling import replicas
from deployments.replicas.status import VersionStatus
from deployments.replicas.trial import NoTrial
from deployments.replicas.versions import Versions
from deployments.settings import ModelSettings, parse
from deployments.stages.asking import AskedStage
from deployments.stages.declared import PipelineSettings
from deployments.stages.http import PipelineApp
from deployments.stages.loading import preparation_of, stage_loader, stage_source
from deployments.stages.plan import Plan, PlannedStage, planned
from deployments.stages.predictor import PipelinePredictor
from deployments.stages.socket import StageSocket
from deployments.stages.stage_call import StageAnswer, StageCall, stored
from deployments.stages.stage_replicas import Address, RayStore, StageReplicas, own_address
from deployments.stages.worker import Worker
from telemetry.emitting import resources


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
        self._emitter = emitter_of(settings, name, plan.manifest.version, "pipeline")
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
        gate = gate_of(settings, name)
        self._app = fast_path.open_fast_path(
            f"/v2/models/{name}", checked(app, gate, of_model(name)), needs_client_address=gate is not None
        )
        open_service(self._app, self.ask, gate, settings)

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


def pipeline(args: dict[str, Any]) -> Application:
    """Stages that are called as one model, at its route; `args` are `PipelineSettings`.

    Raises:
        SettingsError: the stages do not fit, or one demands what the cluster has not.
    """
    plan = planned(parse(PipelineSettings, args, "args"))
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    apart = [stage for stage in plan.stages.values() if stage.declared.own_replicas]
    stages = [_stage(stage, cluster).bind(plan, stage.declared.name) for stage in apart]
    takers: Deployment = serve.deployment(
        name=repository.DEPLOYMENT,
        max_ongoing_requests=plan.settings.max_queue_size,
        graceful_shutdown_timeout_s=DRAIN_S,
        health_check_period_s=LOOK_EVERY_S,
        ray_actor_options={"num_cpus": plan.num_cpus},
        **replicas(ModelSettings(artifact=plan.settings.name, scaling=plan.settings.scaling)),
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
        health_check_period_s=LOOK_EVERY_S,
        ray_actor_options=options,
        **replicas(settings),
    )(Stage)
    return deployment


def _worker(plan: Plan, stage: PlannedStage, store: RayStore, *, has_gpu: bool) -> Worker:
    """That stage in this process, reported as a service of its own."""
    name, settings = stage.declared.name, stage.settings
    emitter = plain_emitter(settings, f"{plan.manifest.name}.{name}", "", "stage")
    versions = Versions(
        stage_source(stage),
        stage_loader(stage, has_gpu=has_gpu, emitter=emitter),
        policy=settings.version,
        keep=settings.keep_versions,
        emitter=emitter,
        agreement=Agreement(
            KeyValueStore(), stage.group, f"{name}:{serve.get_replica_context().replica_id.unique_id}", settings.version
        ),
        trial=trial_of(settings, has_gpu=has_gpu, part=stage.declared.part) if stage.declared.artifact else NoTrial(),
    )
    return Worker(
        name,
        f"/v2/models/{plan.manifest.name}/infer",
        versions,
        budget=ByteBudget(settings.max_queue_bytes),
        store=store,
        emitter=emitter,
    )
