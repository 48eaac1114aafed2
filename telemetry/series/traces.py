"""Keeps the latest spans, each once."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from telemetry.receivers.attributes import MAX_TEXT
from telemetry.receivers.origin import Peer, origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span; times in Unix seconds."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    start_s: float
    duration_s: float
    failed: bool


class SpanStore:
    """The requests with the last `max_spans` spans; they are read when somebody looks, a repeated span once."""

    def __init__(self, max_spans: int = 2000) -> None:
        self._requests: deque[tuple[ExportTraceServiceRequest, Peer, int]] = deque()
        self._num_spans = 0
        self._max_spans = max_spans

    def ingest(self, request: ExportTraceServiceRequest, peer: Peer) -> tuple[int, str]:
        """Keep the request's spans; returns how many were refused, and why."""
        spans = [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
        bad = [span for span in spans if len(span.trace_id) != 16 or len(span.span_id) != 8]
        self._requests.append((request, peer, len(spans)))
        self._num_spans += len(spans)
        while len(self._requests) > 1 and self._num_spans - self._requests[0][2] >= self._max_spans:
            self._num_spans -= self._requests.popleft()[2]
        if not bad:
            return 0, ""
        got = f"{len(bad[0].trace_id)} and {len(bad[0].span_id)}"
        return len(bad), f"trace_id must have 16 bytes and span_id 8, got {got}"

    def latest(self, service: str, num_spans: int = 20) -> list[Span]:
        """The service's latest spans, the newest first, leaving out the children of spans that are kept as well."""
        kept = {(span.trace_id, span.span_id): span for span in self.all()}
        roots = (
            span
            for span in reversed(kept.values())
            if span.service == service and (span.trace_id, span.parent_id) not in kept
        )
        return [span for span, _ in zip(roots, range(num_spans), strict=False)]

    def all(self) -> Iterator[Span]:
        """All spans that are kept, as often as they came; may be asked from another thread."""
        for request, peer, _ in list(self._requests):
            for resource in request.resource_spans:
                service = origin(resource.resource, peer).service
                for span in (span for scope in resource.scope_spans for span in scope.spans):
                    if len(span.trace_id) == 16 and len(span.span_id) == 8:
                        yield _span(span, service)


def _span(span: otlp.Span, service: str) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        service=service,
        name=span.name[:MAX_TEXT],
        start_s=span.start_time_unix_nano / 1e9,
        duration_s=max(0, span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        failed=span.status.code == otlp.Status.STATUS_CODE_ERROR,
    )
