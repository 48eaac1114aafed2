"""What is reported of requests: how many, how long, with which status, and spans of the sampled ones."""

from starlette.types import Scope

from deployments.execution.prediction import Prediction
from deployments.http.asgi import header
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
            if prediction and not prediction.is_cached
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
