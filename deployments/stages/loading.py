"""A stage of a plan becomes a worker: its versions are loaded, verified and held against the plan."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from deployments.batching.admission import Limits
from deployments.execution.load import load_predictor
from deployments.execution.predictor import Predictor
from deployments.replicas.node_cache import LocalCopy
from deployments.replicas.source import Source, published
from deployments.settings import ModelSettings
from deployments.stages.function import AwaitedFunction, checking, function, is_async
from deployments.stages.plan import VERSION, Plan, PlannedStage, raw_input_of, signature_of
from deployments.stages.worker import Predicts, StageVersion
from optimization.artifact.manifest import Manifest
from optimization.artifact.raw.inputs import preparation
from optimization.artifact.raw.prepare import Prepare
from optimization.artifact.store import ArtifactError, load
from telemetry.emitting.emitter import Emitter


class FunctionSource:
    """A function as `deployments.replicas.source.Source`: it has one version, and no files."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.where = "Python's path"

    def versions(self) -> list[str]:
        """The one."""
        return [VERSION]

    def fetch(self, _: str) -> LocalCopy:
        """Nothing lies anywhere."""
        return LocalCopy(path=Path())

    def files(self, _: str, /) -> object:
        """They do not change."""
        return None


def stage_source(stage: PlannedStage) -> Source:
    """Where the stage's versions come from."""
    return stage.settings.source() if stage.declared.artifact else FunctionSource(stage.declared.name)


def stage_loader(stage: PlannedStage, *, has_gpu: bool, emitter: Emitter) -> Callable[[Path], StageVersion]:
    """What makes a version ready, given its directory; `has_gpu` where this process may use one."""

    def load_model(path: Path) -> StageVersion:
        artifact = load(path, part=stage.declared.part)
        _check(artifact.manifest, stage)
        predictor = load_predictor(artifact, stage.settings, has_gpu=has_gpu, emitter=emitter)
        return StageVersion(predictor, artifact.manifest.version, emitter)

    def load_function(_: Path) -> StageVersion:
        return StageVersion(_function_predictor(stage, emitter), VERSION, emitter)

    return load_model if stage.declared.artifact else load_function


def _function_predictor(stage: PlannedStage, emitter: Emitter) -> Predicts:
    assert stage.declared.call is not None
    called, gives = function(stage.declared.call, f"stages.{stage.declared.name}.call"), stage.signature.outputs
    settings = stage.settings
    if is_async(called):
        return AwaitedFunction(called, gives, most=settings.max_queue_size)
    manifest = Manifest(
        name=stage.declared.name,
        version=VERSION,
        created=datetime.now(UTC),
        inputs=stage.signature.inputs,
        outputs=gives,
        files={},
    )
    return Predictor(manifest, checking(called, gives), limits=function_limits(settings), inline=False, emitter=emitter)


def function_limits(settings: ModelSettings) -> Limits:
    """Rows of several requests share a call of a function only where that is asked for."""
    is_batched = "max_batch_size" in settings.model_fields_set
    return Limits(
        max_batch_size=settings.max_batch_size if is_batched else 1,
        max_request_samples=settings.max_request_samples,
        max_queue_size=settings.max_queue_size,
        latency_target_s=settings.latency_target_s,
        is_batched=is_batched,
    )


def _check(manifest: Manifest, stage: PlannedStage) -> None:
    """A newer version fits the other stages as the one before did."""
    if signature_of(manifest) != stage.signature or raw_input_of(manifest) != stage.raw:
        raise ArtifactError(
            f"version {manifest.version} of {manifest.name!r} must take and give what the one did that the pipeline "
            "was started with: start it anew"
        )


def preparation_of(plan: Plan) -> Prepare | None:
    """What makes all that the pipeline takes of raw input, if it takes any.

    Raises:
        ArtifactError: the artifact that says how is missing or damaged here.
    """
    if plan.prepared_by is None:
        return None
    settings = plan.stages[plan.prepared_by].settings
    with published(settings.source(), settings.answering) as copy:
        return preparation(plan.manifest, copy.path, settings.num_threads)
