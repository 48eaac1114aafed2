"""What a process logs as lines of JSON on standard error, where that is asked for: for whoever gathers logs of files.

{"time": "2026-11-30T20:15:00.123456Z", "severity": "WARNING", "logger": "deployments.batching.batcher",
 "message": "...", "service": "digits", "instance": "x1", "trace_id": "...", "span_id": "...", "exception": "..."}

`trace_id` and `span_id` are those of the request that was under way, in W3C's hex, and not there outside of any.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime

from telemetry.emitting.secrets import without_secrets
from telemetry.emitting.trace import current

LOGS = "TRIMTAB_LOGS"
"""Environment variable: `json` asks for such lines, for every process of Trimtab's that finds it."""
JSON = "json"
_WITH_OWN_HANDLERS = ("ray.serve",)
"""Loggers that do not hand on what they hear: their handlers write such lines, too."""


class JsonLines(logging.Formatter):
    """One record, one line, without secrets."""

    def __init__(self, service: str, instance: str = "") -> None:
        super().__init__()
        self._who = {"service": service} | ({"instance": instance} if instance else {})

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z"),
            "severity": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            **self._who,
        }
        if trace := current.get():
            line["trace_id"], line["span_id"] = f"{trace.trace_id:032x}", f"{trace.own_id():016x}"
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def begin(service: str, instance: str = "") -> None:
    """Write such lines from now on, if they are asked for."""
    if os.environ.get(LOGS) != JSON:
        return
    lines = JsonLines(service, instance)
    if not any(isinstance(handler.formatter, JsonLines) for handler in logging.root.handlers):
        on_stderr = logging.StreamHandler(sys.stderr)
        on_stderr.setFormatter(lines)
        logging.root.addHandler(on_stderr)
    for name in _WITH_OWN_HANDLERS:
        for handler in logging.getLogger(name).handlers:
            target = getattr(handler, "target", None)  # of one that writes many lines at a time
            (target or handler).setFormatter(lines)
