"""An artifact becomes a predictor: its graph loaded and warm, raw input taken, answers cached, limits kept."""

from collections.abc import Mapping

from deployments.batching.admission import Limits
from deployments.embeddings.inputs import EmbeddedInputs, ReadTable, embedded_inputs
from deployments.execution.answer_cache import AnswerCache
from deployments.execution.predictor import Predictor
from deployments.execution.prepack import cache_folder
from deployments.execution.session import Session
from deployments.raw.inputs import accepting_raw
from deployments.scatter.scatter import Others, Scatter
from deployments.settings import ModelSettings
from optimization.artifact.store import Artifact
from telemetry.emitting.emitter import Emitter

_NO_TABLES: Mapping[str, ReadTable] = {}


def load_predictor(
    artifact: Artifact,
    settings: ModelSettings,
    *,
    has_gpu: bool,
    emitter: Emitter,
    others: Others | None = None,
    tables: Mapping[str, ReadTable] = _NO_TABLES,
) -> Predictor:
    """The verified `artifact`, ready to predict as `settings` say; `has_gpu` where this process may use one, `others`
    where other replicas may answer rows of a large request, `tables` those that `settings` name.

    Raises:
        ArtifactError: it cannot be run here.
        SettingsError: `settings` name inputs that it has not.
    """
    inputs = embedded_inputs(artifact.manifest, settings.embeddings)
    session = Session(
        artifact,
        num_threads=settings.num_threads,
        max_batch_size=settings.max_batch_size,
        cache=cache_folder(),
        accelerator=settings.accelerator if has_gpu or settings.accelerator == "gpu" else "cpu",
    )
    scatter = None
    if others is not None and settings.scatter_from_samples and session.is_batched:
        scatter = Scatter(
            others,
            version=artifact.manifest.version,
            from_rows=settings.scatter_from_samples,
            batch_rows=session.max_batch_size,
            emitter=emitter,
        )
    return Predictor(
        artifact.manifest,
        accepting_raw(artifact, session.run, settings.num_threads),
        limits=Limits(
            max_batch_size=session.max_batch_size,
            max_request_samples=settings.max_request_samples,
            max_queue_size=settings.max_queue_size,
            latency_target_s=settings.latency_target_s,
            is_batched=session.is_batched,
        ),
        inline=session.is_quick,
        pace=session.pace,
        cache=AnswerCache(settings.cache_bytes) if settings.cache_bytes else None,
        scatter=scatter,
        embedded=EmbeddedInputs(artifact.manifest, inputs, tables, max_rows_bytes=settings.max_queue_bytes)
        if inputs
        else None,
        emitter=emitter,
    )
