"""What is watched of a version, by its manifest and by the settings."""

from collections.abc import Callable, Mapping
from pathlib import Path

from deployments.cascade.cascade import Teacher
from deployments.errors import SettingsError
from deployments.monitoring.answers import is_classifier, is_regressor
from deployments.monitoring.feedback import Feedback
from deployments.monitoring.monitor import Monitor
from deployments.monitoring.samples import Samples
from deployments.monitoring.shadow import Shadow, fidelity_of
from deployments.monitoring.sketches import Prepare, Sketches
from deployments.oip.tensors import Array
from deployments.raw.inputs import raw_input
from deployments.rollout.witness import Witness
from deployments.settings import FeedbackSettings, ModelSettings
from optimization.artifact.manifest import Manifest, TextPreprocessing
from optimization.artifact.raw.inputs import preparation
from optimization.artifact.reference.views import Views
from optimization.artifact.reference.vocabulary import Vocabulary
from optimization.artifact.store import Artifact
from telemetry.emitting.emitter import Emitter


def monitor_of(
    artifact: Artifact,
    settings: ModelSettings,
    emitter: Emitter,
    teacher: Callable[[str, str], Teacher],
    witness: Witness | None = None,
) -> Monitor | None:
    """What watches the artifact's answers; none where nothing is to be watched. `teacher` is called with the name and
    the version of the one to ask; `witness` hears what it said.

    Raises:
        ArtifactError: the manifest does not say what `shadow` needs.
        SettingsError: `feedback` is set for a model that tells neither classes nor numbers or does not fit it, or what
            redacts samples is not to be found.
    """
    manifest = artifact.manifest
    shadow = feedback = None
    if settings.shadow is not None:
        expected, version = fidelity_of(manifest, settings.shadow.teacher)
        asked = teacher(settings.shadow.teacher, version)
        shadow = Shadow(manifest, settings.shadow, expected, asked, emitter, witness)
    samples = Samples(manifest, settings.samples) if settings.samples is not None else None
    if settings.feedback is not None:
        _check_feedback(manifest, settings.feedback)
        kept = {"joined": samples.label} if samples is not None else {}
        feedback = Feedback(manifest, settings.feedback, emitter, **kept)
    sketches = _sketches(artifact, emitter) if settings.watch_drift else None
    if sketches is None and shadow is None and feedback is None and samples is None:
        return None
    prepare = _prepare(manifest, artifact.path)
    return Monitor(sketches=sketches, prepare=prepare, shadow=shadow, feedback=feedback, samples=samples)


def _check_feedback(manifest: Manifest, settings: FeedbackSettings) -> None:
    name = f"model {manifest.name!r}"
    if is_regressor(manifest) and settings.tolerance is None:
        raise SettingsError(f"feedback.tolerance must say when an answer is right: {name} answers with numbers")
    if is_classifier(manifest) and settings.tolerance is not None:
        raise SettingsError(f"feedback.tolerance must be left out: {name} answers with classes")
    if not is_classifier(manifest) and not is_regressor(manifest):
        raise SettingsError(
            f"feedback must be left out: {name} answers with neither a class nor a number of each row, and a label is "
            "either"
        )


def _sketches(artifact: Artifact, emitter: Emitter) -> Sketches | None:
    manifest = artifact.manifest
    if manifest.reference is None:
        return None
    text = manifest.preprocessing
    vocabulary = Vocabulary(artifact.path / text.tokenizer) if isinstance(text, TextPreprocessing) else None
    seed = manifest.reference.seed
    views = Views(manifest.inputs, manifest.outputs, task=manifest.task, vocabulary=vocabulary, seed=seed)
    return Sketches(manifest, manifest.reference, views, emitter)


def _prepare(manifest: Manifest, folder: Path) -> Prepare:
    raw, prepare = raw_input(manifest), preparation(manifest, folder, 1)
    if raw is None or prepare is None:
        return lambda rows: rows

    def prepared(rows: Mapping[str, Array]) -> Mapping[str, Array]:
        return prepare(rows[raw.name]) if raw.name in rows else rows

    return prepared
