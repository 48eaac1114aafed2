"""Log records as they are found again: by trace, service, time, severity and text."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1 import logs_pb2 as otlp

from telemetry.receivers.attributes import Attributes, attributes
from telemetry.receivers.origin import Origin, origin

MAX_BODY = 4096
"""Characters of a record's text that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One record; times in Unix seconds, ids in hex, empty where it belongs to no trace."""

    time_s: float
    severity: int
    """As OpenTelemetry counts: 9 is information, 13 a warning, 17 an error."""
    severity_text: str
    body: str
    service: str
    instance: str
    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, kw_only=True)
class LogQuery:
    """Which records are wanted; None is any."""

    service: str | None = None
    trace_id: str | None = None
    start_s: float = 0.0
    end_s: float = 2e10
    min_severity: int = 0
    text: str = ""
    """What the body contains, in whatever case."""
    limit: int = 100

    def takes(self, record: LogRecord) -> bool:
        """Whether a record is wanted."""
        return (
            self.start_s <= record.time_s <= self.end_s
            and record.severity >= self.min_severity
            and self.service in (None, record.service)
            and self.trace_id in (None, record.trace_id)
            and self.text.casefold() in record.body.casefold()
        )


def search(bodies: Iterable[bytes], query: LogQuery) -> list[LogRecord]:
    """The latest records that are wanted, of requests that come the latest first."""
    found: list[LogRecord] = []
    for body in bodies:
        found += [record for record in read(body) if query.takes(record)]
        if len(found) >= query.limit:
            break
    return sorted(found, key=lambda record: -record.time_s)[: query.limit]


def read(body: bytes) -> Iterator[LogRecord]:
    """The records of a request."""
    for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
        sender = origin(resource.resource)
        for record in (record for scope in resource.scope_logs for record in scope.log_records):
            yield _stored(sender, record)


def _stored(sender: Origin, record: otlp.LogRecord) -> LogRecord:
    is_text = record.body.WhichOneof("value") == "string_value"
    return LogRecord(
        time_s=(record.time_unix_nano or record.observed_time_unix_nano) / 1e9,
        severity=record.severity_number,
        severity_text=record.severity_text[:MAX_BODY],
        body=(record.body.string_value if is_text else str(record.body))[:MAX_BODY],
        service=sender.service,
        instance=sender.instance,
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        attributes=attributes(record.attributes),
    )
