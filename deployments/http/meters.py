"""What is reported of requests: how many, how long, with which status and error, and spans of those that are kept."""

from starlette.types import Scope

from deployments.execution.prediction import Prediction
from deployments.http.asgi import header
from telemetry import conventions
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.spans import BatchSpan
from telemetry.emitting.trace import Child, Link, Trace

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))


class RequestMeter:
    """Counts requests by method, route and status; reports as spans those that are sampled, fail or are slow."""

    def __init__(self, emitter: Emitter, version: str | None = None) -> None:
        """`version` is that of the model that is asked, if it is one."""
        self._emitter = emitter
        self._version: Attributes = ((conventions.MODEL_VERSION, version),) if version else ()
        self._durations = emitter.histogram(conventions.REQUEST_DURATION)
        self._preprocess = emitter.histogram(conventions.PREPROCESS_DURATION)
        self._errors = emitter.counter(conventions.REQUEST_ERRORS)
        self._kinds: dict[tuple[str, str, int, str], _Kind] = {}

    def begin(self, scope: Scope) -> Trace:
        """A request's place in its client's trace, or in a new one."""
        traceparent = header(scope, b"traceparent")
        return self._emitter.begin(traceparent, header(scope, b"tracestate") if traceparent else None)

    def request(
        self,
        *,
        method: str,
        route: str,
        status: int,
        start_ns: int,
        end_ns: int,
        trace: Trace | None,
        scheme: str = "http",
        error: str | None = None,
        error_type: str | None = None,
        prediction: Prediction | None = None,
        times: int = 1,
    ) -> None:
        """Report a request that has been answered, or several like it; `route` is its path with names for the parts
        that vary, `error_type` the class of what it failed with.
        """
        method = method if method in _METHODS else "_OTHER"
        key = (method, route, status, scheme)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(key, self._version, self._emitter)
        seconds = (end_ns - start_ns) / 1e9
        if error_type is not None:
            self._errors.add(times, (*self._version, (conventions.ERROR_TYPE, error_type)))
        is_slow = kind.slowness.judge(seconds)
        link = None
        if trace is not None and (trace.is_sampled or is_slow or status >= 500):
            link = self._report(trace, kind, start_ns, end_ns, error, prediction)
        self._durations.record(seconds, kind.attributes, times, link)
        if prediction is not None and prediction.decoded_ns:
            self._preprocess.record((prediction.decoded_ns - start_ns) / 1e9, self._version)

    def _report(
        self, trace: Trace, kind: "_Kind", start_ns: int, end_ns: int, error: str | None, prediction: Prediction | None
    ) -> Link | None:
        """Where the request's span is found, if it is kept."""
        children: list[Child] = []
        if prediction is not None and prediction.decoded_ns:
            children.append(Child("preprocess", start_ns, prediction.decoded_ns))
        batch = None
        if prediction is not None and prediction.call is not None:
            batch = prediction.call.span
            is_new = batch is None
            if batch is None:
                batch = prediction.call.span = _batch_span(prediction, trace, self._version)
            children += (
                Child("queue", prediction.submitted_ns, prediction.started_ns),
                Child("inference", prediction.started_ns, prediction.ended_ns, link=batch.link),
            )
        is_kept = self._emitter.spans.request(
            trace,
            kind.name,
            start_ns=start_ns,
            end_ns=end_ns,
            attributes=kind.attributes,
            error=error if kind.is_failure else None,
            children=children,
        )
        if not is_kept:
            return None
        link = Link(trace.trace_id, trace.own_id())
        if batch is not None:
            batch.links.append(link)
            if is_new:
                self._emitter.spans.batch(batch)
        return link


class _Kind:
    """What requests of one method, route, status and scheme have alike."""

    __slots__ = ("attributes", "is_failure", "name", "slowness")

    def __init__(self, key: tuple[str, str, int, str], version: Attributes, emitter: Emitter) -> None:
        method, route, status, _ = key
        self.attributes = (*_attributes(*key), *version)
        self.is_failure = status >= 500
        self.name = f"{method} {route}"
        self.slowness = emitter.slowness()


def scheme_of(scope: Scope) -> str:
    """How the client's request came: by what the ingress says (`x-forwarded-proto`), else as it came here."""
    forwarded = header(scope, b"x-forwarded-proto")
    if forwarded in ("http", "https"):
        return forwarded
    here: str = scope.get("scheme", "http")
    return here


def _batch_span(prediction: Prediction, trace: Trace, version: Attributes) -> BatchSpan:
    """The call that a request was answered by, in the trace of the first of its requests that is kept."""
    call = prediction.call
    assert call is not None, "it was asked for"
    rows = (conventions.BATCH_SIZE, call.num_samples)
    return BatchSpan(
        trace_id=trace.trace_id,
        parent_id=trace.own_id(),
        start_ns=prediction.started_ns,
        end_ns=prediction.ended_ns,
        attributes=(*version, rows, (conventions.BATCH_REQUESTS, call.num_requests)),
    )


def _attributes(method: str, route: str, status: int, scheme: str) -> Attributes:
    attributes: Attributes = (
        (conventions.METHOD, method),
        (conventions.SCHEME, scheme),
        (conventions.ROUTE, route),
        (conventions.STATUS_CODE, status),
    )
    return (*attributes, (conventions.ERROR_TYPE, str(status))) if status >= 500 else attributes
