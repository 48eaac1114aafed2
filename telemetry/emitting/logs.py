"""What a process logs, as OTLP log records; one that is written while a request is under way bears its trace.

https://opentelemetry.io/docs/specs/otel/logs/data-model/
"""

import logging
import time
import traceback

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from telemetry.conventions import SERVICE_INSTANCE_ID, SERVICE_NAME
from telemetry.emitting import json_lines
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.protobuf import field
from telemetry.emitting.secrets import without_secrets
from telemetry.emitting.span_bytes import any_value
from telemetry.emitting.trace import current

RECORDS = 2
"""The number of a scope's records, as a field."""
INFO = 9
_SEVERITIES = ((logging.CRITICAL, 21), (logging.ERROR, 17), (logging.WARNING, 13), (logging.INFO, INFO), (0, 5))
"""Python's levels from which on, and OpenTelemetry's number."""
_OURS = "telemetry.emitting"
"""What reporting itself logs is not reported: it would be about its own failure, again and again."""


def observe(emitter: Emitter) -> None:
    """Report what is logged from `start` to `shutdown`, where any collector takes logs; write it as lines of JSON
    besides, where the environment asks for them."""
    handler = LogHandler(emitter)
    said = emitter.resource.attributes
    service, instance = str(said[SERVICE_NAME]), str(said[SERVICE_INSTANCE_ID])
    emitter.on_start(lambda: json_lines.begin(service, instance))
    emitter.on_start(handler.begin)
    emitter.on_shutdown(handler.end)


class LogHandler(logging.Handler):
    """Sits at the root of Python's loggers."""

    def __init__(self, emitter: Emitter) -> None:
        super().__init__(logging.INFO)
        self._emitter = emitter

    def begin(self) -> None:
        """Hear what is logged."""
        if self._emitter.takes_logs:
            logging.root.addHandler(self)

    def end(self) -> None:
        """Hear no more."""
        logging.root.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Report a record; what a process without handlers would write to standard error, it still does."""
        if logging.root.handlers == [self] and logging.lastResort and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)
        if record.name.startswith(_OURS):
            return
        try:
            self._emitter.log(field(RECORDS, self._encoded(record)))
        except Exception:  # noqa: BLE001 - as Python's own handlers do: whatever a message's arguments raise
            self.handleError(record)

    def _encoded(self, record: logging.LogRecord) -> bytes:
        attributes: Attributes = (
            ("code.function.name", f"{record.name}.{record.funcName}"),
            ("code.file.path", record.pathname),
            ("code.line.number", record.lineno),
        )
        if record.exc_info and record.exc_info[0]:
            kind, error, stack = record.exc_info
            attributes += (
                ("exception.type", kind.__name__),
                ("exception.message", without_secrets(str(error))),
                ("exception.stacktrace", without_secrets("".join(traceback.format_exception(kind, error, stack)))),
            )
        limited = self._emitter.log_limits.of(attributes)
        made = LogRecord(
            time_unix_nano=round(record.created * 1e9),
            observed_time_unix_nano=time.time_ns(),
            severity_number=next(number for level, number in _SEVERITIES if record.levelno >= level),  # type: ignore[arg-type]
            severity_text=record.levelname,
            body=any_value(without_secrets(record.getMessage())),
            attributes=[KeyValue(key=key, value=any_value(value)) for key, value in limited],
        )
        if trace := current.get():
            made.trace_id = trace.trace_id.to_bytes(16, "big")
            made.span_id = trace.own_id().to_bytes(8, "big")
            made.flags = int(trace.is_sampled)
        return made.SerializeToString()
