"""A model: its replicas, each with the versions of its artifact."""

from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import ray
from ray import serve
from ray.serve import Application

from deployments.access.guard import of_model
from deployments.applications.replica import (
    DRAIN_S,
    application,
    checked,
    emitter_of,
    gate_of,
    open_service,
    plain_emitter,
)
from deployments.batching.calls import Outputs
from deployments.cascade.cascade import CascadePredictor, LocalTeacher, Teacher, calibrated
from deployments.cascade.remote_teacher import RemoteTeacher
from deployments.embeddings.remote import RemoteTable
from deployments.errors import UnavailableError
from deployments.execution.attempt import trial_of
from deployments.execution.byte_budget import ByteBudget
from deployments.execution.load import load_predictor
from deployments.execution.meters import report_budget
from deployments.execution.predicting import Predicting
from deployments.execution.predictor import Predictor
from deployments.http.asgi import Answer, Call, call
from deployments.http.model import ModelApp
from deployments.http.versioned import VersionedModel
from deployments.ingress import fast_path
from deployments.monitoring.feedback import Label
from deployments.monitoring.of_model import monitor_of
from deployments.oip import grpc_service
from deployments.oip.statistics import ModelStatistics
from deployments.raw.inputs import raw_input
from deployments.ray_private import AsgiReplica, KeyValueStore
from deployments.replicas import repository, source
from deployments.replicas.agreement import Agreement
from deployments.replicas.demand import Demand
from deployments.replicas.placement import actor_options
from deployments.replicas.scaling import replicas
from deployments.replicas.status import VersionStatus
from deployments.replicas.versions import Versions
from deployments.rollout.canary import Told
from deployments.rollout.candidate import Candidacy, CandidateAnswers, application_of
from deployments.rollout.counting import Counting
from deployments.rollout.deployed import Deployed
from deployments.rollout.follower import Follower, Teller
from deployments.rollout.remote import RemoteCandidate
from deployments.rollout.shared import Shared, wait_for_controller
from deployments.rollout.witness import Witness
from deployments.scatter.answering import answered
from deployments.scatter.part import Part, Refusal
from deployments.scatter.remote import OtherReplicas
from deployments.settings import CascadeSettings, ModelSettings, parse
from optimization.artifact.store import load


@grpc_service.with_rpcs
class Model(AsgiReplica):
    """A replica: each version of its artifact is verified, loaded and warm before it takes requests."""

    def __init__(self, settings: ModelSettings, candidacy: Candidacy | None = None) -> None:
        """With `candidacy` it answers what replicas of the model pass on, as an application of its own."""
        self._settings = settings
        name = settings.artifact if candidacy is None else application_of(settings.artifact)
        process = serve.get_replica_context().replica_id.unique_id
        rollouts = Shared(KeyValueStore())
        if settings.rollout is not None:
            wait_for_controller(rollouts, settings.artifact)
        self._emitter = emitter_of(settings, name, "", "replica")
        self._budget = ByteBudget(settings.max_queue_bytes)
        self._witness = Witness()
        self._others = OtherReplicas(name) if settings.scaling.max_replicas > 1 else None
        self._tables = {each.table: RemoteTable(each.table, self._emitter) for each in settings.embeddings.values()}
        self._versions = Versions(
            settings.source(),
            self._load,
            policy=settings.version,
            keep=settings.keep_versions,
            emitter=self._emitter,
            agreement=Agreement(
                KeyValueStore(),
                name,
                process,
                settings.version,
            ),
            trial=trial_of(settings, has_gpu=bool(ray.get_gpu_ids())),
        )
        if settings.rollout is not None:
            rollouts.pin_first(settings.artifact, self._versions.ready()[-1])
        self._demand = Demand(self._emitter, lambda: self._versions.ongoing, num_cpus=settings.num_threads)
        report_budget(self._budget, self._emitter)
        prefix = f"/v2/models/{settings.artifact}"
        self._part: Follower | Teller
        if candidacy is None:
            self._part = Follower(
                rollouts,
                name,
                process,
                self._witness,
                ask=RemoteCandidate,
                max_body_bytes=settings.max_body_bytes,
                budget=self._budget,
            )
        else:
            counting = Counting("candidate", process, candidacy.window_s)
            self._witness.watch(counting.see, counting.teacher_compared)
            self._part = Teller(rollouts, candidacy.rollout, "candidate", process, counting)
        app = VersionedModel(self._versions, self._emitter, self._part)
        if isinstance(self._part, Teller):
            self._candidate = CandidateAnswers(app, prefix, self._part.counting)
        gate = gate_of(settings, settings.artifact)
        self._app = fast_path.open_fast_path(
            prefix,
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
            monitor=monitor_of(artifact, settings, self._emitter, RemoteTeacher, self._witness),
            witness=self._witness,
            join=partial(repository.join, settings.artifact),
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
        emitter = plain_emitter(settings, name, version, "teacher")
        has_gpu = bool(ray.get_gpu_ids())
        predictor = load_predictor(load(copy.path), settings, has_gpu=has_gpu, emitter=emitter, tables=self._tables)
        return LocalTeacher(predictor, emitter, copy.release)

    async def ask(self, request: Call) -> Answer:
        """What this replica answers; by name, `Server` calls this as well."""
        return await call(self._app, request, self._app.prefix)

    async def answer_canary(self, request: Call, wants_rows: bool) -> Told:
        """What a candidate answers; the replicas of the model call this by `deployments.rollout.remote`."""
        return await self._candidate.answer(request, wants_rows)

    async def deployed(self) -> Deployed:
        """What this replica is made of, for a candidate that is to be like it."""
        answering = self._versions.answering
        return Deployed(
            settings=self._settings,
            resources=ray.get_runtime_context().get_assigned_resources(),  # type: ignore[no-untyped-call]
            answering=answering.app.predictor.manifest.version if answering else None,
        )

    async def answer_part(self, part: Part) -> Outputs | Refusal:
        """Rows of a large request that another replica got, and checked; `deployments.scatter.remote` calls this."""
        return await answered(part, self._versions.find, self._budget, self._emitter)

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

    async def join_labels(self, labels: list[Label]) -> set[tuple[str, int]]:
        """Judge what this replica answered; `deployments.replicas.repository` asks all of them."""
        joined = [await each.join(labels) for each in self._versions.held() if isinstance(each, ModelApp)]
        return set().union(*joined)

    async def reload_versions(self) -> list[VersionStatus]:
        """Follow the last order now; `deployments.replicas.repository` calls this on every replica."""
        return await self._versions.reload()

    async def versions(self) -> list[VersionStatus]:
        """What this replica holds."""
        return self._versions.index()


def model(args: dict[str, Any]) -> Application:
    """One model at its route; `args` are `ModelSettings`."""
    settings = parse(ModelSettings, args, "args")
    source.find(settings.source(), settings.answering)
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return application(
        Model,
        settings,
        # Ray's own count, for requests that come by its path: the batcher refuses what is too much.
        max_ongoing_requests=settings.max_batch_size + settings.max_queue_size,
        graceful_shutdown_timeout_s=DRAIN_S,
        ray_actor_options=actor_options(settings, cluster, onnxruntime.get_available_providers()),
        **replicas(settings),
    )
