"""Keeps the latest spans, each once."""

from collections import OrderedDict
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

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
    """The last `max_spans` spans by (trace_id, span_id), so that a repeated export changes nothing."""

    def __init__(self, max_spans: int = 2000) -> None:
        self._spans: OrderedDict[tuple[bytes, bytes], Span] = OrderedDict()
        self._max_spans = max_spans

    def ingest(self, request: ExportTraceServiceRequest, peer: Peer) -> tuple[int, str]:
        """Keep the request's spans; returns how many were refused, and why."""
        num_refused, reason = 0, ""
        for resource in request.resource_spans:
            service = origin(resource.resource, peer).service
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                if len(span.trace_id) != 16 or len(span.span_id) != 8:
                    num_refused += 1
                    reason = reason or (
                        f"trace_id must have 16 bytes and span_id 8, got {len(span.trace_id)} and {len(span.span_id)}"
                    )
                    continue
                self._spans[span.trace_id, span.span_id] = Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    service=service,
                    name=span.name[:MAX_TEXT],
                    start_s=span.start_time_unix_nano / 1e9,
                    duration_s=max(0, span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    failed=span.status.code == Status.STATUS_CODE_ERROR,
                )
        while len(self._spans) > self._max_spans:
            self._spans.popitem(last=False)
        return num_refused, reason

    def latest(self, service: str, num_spans: int = 20) -> list[Span]:
        """The service's latest spans, the newest first, leaving out the children of spans that are kept as well."""
        parents = {(span.trace_id, span.span_id) for span in self._spans.values()}
        roots = (
            span
            for span in reversed(self._spans.values())
            if span.service == service and (span.trace_id, span.parent_id) not in parents
        )
        return [span for span, _ in zip(roots, range(num_spans), strict=False)]
