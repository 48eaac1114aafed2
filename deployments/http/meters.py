"""What a replica reports of itself: requests, batches, spans, and the numbers of the artifact it serves."""

from starlette.types import Scope

from deployments.execution.prediction import BatchDone, Prediction
from deployments.http.asgi import header
from optimization.artifact.manifest import Manifest
from telemetry import conventions
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))


class RequestMeter:
    """Counts requests by method, route and status, and reports the sampled ones as spans."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._durations = emitter.histogram(conventions.REQUEST_DURATION)
        self._attributes: dict[tuple[str, str, int, str], Attributes] = {}

    def request(
        self,
        *,
        method: str,
        route: str,
        status: int,
        start_ns: int,
        end_ns: int,
        traceparent: str | None,
        scheme: str = "http",
        error: str | None = None,
        prediction: Prediction | None = None,
        times: int = 1,
    ) -> None:
        """Report a request that has been answered, or several like it; `route` is its path with names for the parts
        that vary.
        """
        method = method if method in _METHODS else "_OTHER"
        key = (method, route, status, scheme)
        attributes = self._attributes.get(key)
        if attributes is None:
            attributes = self._attributes[key] = _attributes(*key)
        self._durations.record((end_ns - start_ns) / 1e9, attributes, times)
        if not self._emitter.sampled(traceparent):
            return
        children = (
            [
                ("queue", prediction.submitted_ns, prediction.started_ns),
                ("inference", prediction.started_ns, prediction.ended_ns),
            ]
            if prediction
            else []
        )
        self._emitter.span(
            f"{method} {route}",
            start_ns=start_ns,
            end_ns=end_ns,
            traceparent=traceparent,
            attributes=dict(attributes),
            error=error if status >= 500 else None,
            children=children,
        )


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


def scheme_of(scope: Scope) -> str:
    """How the client's request came: by what the ingress says (`x-forwarded-proto`), else as it came here."""
    forwarded = header(scope, b"x-forwarded-proto")
    if forwarded in ("http", "https"):
        return forwarded
    here: str = scope.get("scheme", "http")
    return here


def _attributes(method: str, route: str, status: int, scheme: str) -> Attributes:
    attributes: Attributes = (
        (conventions.METHOD, method),
        (conventions.SCHEME, scheme),
        (conventions.ROUTE, route),
        (conventions.STATUS_CODE, status),
    )
    return (*attributes, (conventions.ERROR_TYPE, str(status))) if status >= 500 else attributes
