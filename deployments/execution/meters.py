"""What is reported of a model: its calls, its queue, its cache, how full it is, and the artifact's own numbers."""

import time
from collections.abc import Callable, Mapping

from deployments.execution.byte_budget import ByteBudget
from deployments.execution.prediction import BatchDone, Prediction
from optimization.artifact.manifest import Manifest
from telemetry import conventions
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter


class ModelMeters:
    """Counts what the batcher of one version does."""

    def __init__(self, emitter: Emitter, version: str, queue_share: Callable[[], float]) -> None:
        """`queue_share` tells how much of the queue is taken."""
        self._version: Attributes = ((conventions.MODEL_VERSION, version),)
        self._queue = emitter.histogram(conventions.QUEUE_DURATION)
        self._raw = emitter.histogram(conventions.RAW_DURATION)
        self._batches = emitter.histogram(conventions.BATCH_DURATION)
        self._durations = emitter.histogram(conventions.INFERENCE_DURATION)
        self._sizes = emitter.histogram(conventions.INFERENCE_BATCH_SIZE)
        self._samples = emitter.counter(conventions.INFERENCE_SAMPLES)
        self._lookups = emitter.counter(conventions.CACHE_LOOKUPS)
        self._saturation = emitter.gauge(conventions.SATURATION)
        self._queue_share = queue_share
        self._busy_s = self._told_s = 0.0
        self._read_s = time.monotonic()

    def start(self) -> None:
        """Report how full it is, from now on."""
        self._saturation.observe(self._full)

    def stop(self) -> None:
        """Report that no more."""
        self._saturation.forget(self._full)

    def queued(self, prediction: Prediction) -> None:
        """Report how long a request waited for its batch."""
        self._queue.record((prediction.started_ns - prediction.submitted_ns) / 1e9, self._version)

    def looked_up(self, *, hit: bool) -> None:
        """Report whether the cache knew an answer."""
        self._lookups.add(1, (*self._version, (conventions.CACHE_HIT, hit)))

    def batch(self, done: BatchDone) -> None:
        """Report one call of the model."""
        version = self._version
        self._batches.record(done.input_s + done.output_s, version)
        self._durations.record(done.duration_s - done.input_s - done.raw_s, version)
        if done.raw_s:
            self._raw.record(done.raw_s, version)
        self._sizes.record(done.num_samples, version)
        self._samples.add(done.num_samples, version)
        self._busy_s += done.duration_s + done.output_s

    def _full(self) -> Mapping[Attributes, float]:
        now_s, busy_s = time.monotonic(), self._busy_s
        session = (busy_s - self._told_s) / max(1e-3, now_s - self._read_s)
        self._told_s, self._read_s = busy_s, now_s
        found = {"session": min(1.0, session), "queue": self._queue_share()}
        return {(*self._version, (conventions.RESOURCE, name)): share for name, share in found.items()}


def report_budget(budget: ByteBudget, emitter: Emitter) -> None:
    """Report how much of the bytes is taken that the bodies of requests may have together."""
    emitter.gauge(conventions.SATURATION, lambda: {((conventions.RESOURCE, "bytes"),): budget.share})


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
