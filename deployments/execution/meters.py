"""What is reported of a model: its calls, its queue, its cache, and the numbers of the artifact it is."""

from deployments.execution.prediction import BatchDone, Prediction
from optimization.artifact.manifest import Manifest
from telemetry import conventions
from telemetry.emitting.emitter import Emitter


class ModelMeters:
    """Counts what the batcher does."""

    def __init__(self, emitter: Emitter) -> None:
        self._queue = emitter.histogram(conventions.QUEUE_DURATION)
        self._durations = emitter.histogram(conventions.INFERENCE_DURATION)
        self._sizes = emitter.histogram(conventions.INFERENCE_BATCH_SIZE)
        self._samples = emitter.counter(conventions.INFERENCE_SAMPLES)
        self._lookups = emitter.counter(conventions.CACHE_LOOKUPS)

    def queued(self, prediction: Prediction) -> None:
        """Report how long a request waited for its batch."""
        self._queue.record((prediction.started_ns - prediction.submitted_ns) / 1e9)

    def looked_up(self, *, hit: bool) -> None:
        """Report whether the cache knew an answer."""
        self._lookups.add(1, ((conventions.CACHE_HIT, hit),))

    def batch(self, done: BatchDone) -> None:
        """Report one call of the model."""
        self._durations.record(done.duration_s)
        self._sizes.record(done.num_samples)
        self._samples.add(done.num_samples)


def report_artifact(manifest: Manifest, emitter: Emitter) -> None:
    """Report what was measured when the artifact was made, so that whoever watches sees it beside the live numbers."""
    quality = emitter.gauge(conventions.ARTIFACT_QUALITY)
    size = emitter.gauge(conventions.ARTIFACT_SIZE)
    latency = emitter.gauge(conventions.ARTIFACT_LATENCY)
    for gauge in (quality, size, latency):
        gauge.clear()  # another version may have had other steps
    for measured in manifest.measurements:
        step = (conventions.STEP, measured.step)
        metric = (conventions.QUALITY_METRIC, measured.quality.metric)
        for statistic in ("value", "low", "high"):
            value = getattr(measured.quality, statistic)
            quality.set(value, (step, metric, (conventions.STATISTIC, statistic)))
        size.set(measured.size_bytes, (step,))
        for batch, seconds in measured.latency_s.items():
            latency.set(seconds, (step, (conventions.BATCH_SIZE, batch)))
