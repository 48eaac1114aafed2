"""Changes that somebody tells of by log records, such as the decisions of a rollout."""

from collections.abc import Iterator

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from telemetry import conventions
from telemetry.incidents.changes import Change

MOST_TEXT = 500
"""Characters of a change that are kept."""


def changes_told(request: ExportLogsServiceRequest, now_s: float) -> Iterator[Change]:
    """Those that its records tell of, in their order; one that gives no time is of now."""
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                if record.event_name == conventions.ROLLOUT_DECISION:
                    yield _change(record, now_s)


def _change(record: LogRecord, now_s: float) -> Change:
    attributes = {each.key: each.value.string_value for each in record.attributes}
    at_s = record.time_unix_nano / 1e9
    return Change(
        time_s=at_s if 0 < at_s <= now_s else now_s,
        service=attributes.get(conventions.CHANGED_SERVICE, "")[:MOST_TEXT],
        kind="rollout",
        text=record.body.string_value[:MOST_TEXT],
    )
