"""Spans as they are found again: by trace, or by service, time, name, duration and failure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from telemetry.receivers.attributes import MAX_TEXT, Attributes, attributes
from telemetry.receivers.origin import Origin, origin

_KINDS = {
    otlp.Span.SPAN_KIND_SERVER: "server",
    otlp.Span.SPAN_KIND_CLIENT: "client",
    otlp.Span.SPAN_KIND_PRODUCER: "producer",
    otlp.Span.SPAN_KIND_CONSUMER: "consumer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanEvent:
    """What happened within a span."""

    name: str
    time_s: float
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanLink:
    """Another span that this one has to do with, such as a request of its batch."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSpan:
    """One span; times in Unix seconds, ids in hex."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    instance: str
    version: str
    name: str
    kind: str
    start_s: float
    duration_s: float
    failed: bool
    message: str
    """What its status says."""
    attributes: Attributes
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SpanQuery:
    """Which spans are wanted; None is any."""

    service: str | None = None
    name: str | None = None
    start_s: float = 0.0
    end_s: float = 2e10
    min_duration_s: float = 0.0
    failed: bool | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    """Which must have these values, as text."""
    limit: int = 100

    def takes(self, span: StoredSpan) -> bool:
        """Whether a span is wanted."""
        named = {key: str(value) for key, value in span.attributes} if self.attributes else {}
        return (
            self.start_s <= span.start_s <= self.end_s
            and span.duration_s >= self.min_duration_s
            and self.service in (None, span.service)
            and self.name in (None, span.name)
            and self.failed in (None, span.failed)
            and all(named.get(key) == value for key, value in self.attributes.items())
        )


def of_trace(bodies: Iterable[bytes], trace_id: str) -> list[StoredSpan]:
    """The spans of one trace in the order of their start, each once."""
    wanted = bytes.fromhex(trace_id)
    found = {span.span_id: span for body in bodies for span in read(body, wanted)}
    return sorted(found.values(), key=lambda span: span.start_s)


def search(bodies: Iterable[bytes], query: SpanQuery) -> list[StoredSpan]:
    """The latest spans that are wanted, of requests that come the latest first; each once."""
    found: dict[tuple[str, str], StoredSpan] = {}
    for body in bodies:
        found |= {(span.trace_id, span.span_id): span for span in read(body) if query.takes(span)}
        if len(found) >= query.limit:
            break
    return sorted(found.values(), key=lambda span: -span.start_s)[: query.limit]


def read(body: bytes, trace_id: bytes | None = None) -> Iterator[StoredSpan]:
    """The spans of a request, or those of one trace."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        sender = origin(resource.resource)
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            if trace_id in (None, span.trace_id):
                yield _stored(sender, span)


def _stored(sender: Origin, span: otlp.Span) -> StoredSpan:
    return StoredSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        service=sender.service,
        instance=sender.instance,
        version=sender.version,
        name=span.name[:MAX_TEXT],
        kind=_KINDS.get(span.kind, "internal"),
        start_s=span.start_time_unix_nano / 1e9,
        duration_s=max(0, span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        failed=span.status.code == otlp.Status.STATUS_CODE_ERROR,
        message=span.status.message[:MAX_TEXT],
        attributes=attributes(span.attributes),
        events=tuple(
            SpanEvent(
                name=event.name[:MAX_TEXT],
                time_s=event.time_unix_nano / 1e9,
                attributes=attributes(event.attributes),
            )
            for event in span.events
        ),
        links=tuple(SpanLink(trace_id=link.trace_id.hex(), span_id=link.span_id.hex()) for link in span.links),
    )
