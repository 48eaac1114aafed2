"""Traces and log records, found in storage.

/api/traces?service=&name=&since=&until=&min_duration=&failed=&limit=
/api/traces/<id>
/api/logs?service=&trace_id=&since=&until=&severity=&text=&limit=
"""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry.queries.errors import QueryError
from telemetry.queries.naming import attributes_text
from telemetry.storage.logs import LogQuery, LogRecord
from telemetry.storage.spans import SpanQuery, StoredSpan
from telemetry.storage.storage import Storage

MAX_LIMIT = 1000
MAX_TEXT = 256
RANGE_S = 3600.0
"""How far back is searched where no `since` is given."""
SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21}

_TRACE_ID = re.compile(r"[0-9a-f]{32}")


class Found:
    """The routes over one storage."""

    def __init__(self, storage: Storage, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._clock = clock

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/api/traces", _answering(self._traces)),
            Route("/api/traces/{trace_id}", _answering(self._trace)),
            Route("/api/logs", _answering(self._logs)),
        ]

    def _traces(self, request: Request) -> dict[str, Any]:
        """`{spans: [{trace_id, span_id, parent_id, service, name, start_s, duration_s, failed, …}]}`, latest first."""
        since_s, until_s = self._range(request)
        failed = _text(request, "failed")
        if failed not in (None, "true", "false"):
            raise QueryError("bad_data", f"failed must be true or false, got {failed!r}")
        query = SpanQuery(
            service=_text(request, "service"),
            name=_text(request, "name"),
            start_s=since_s,
            end_s=until_s,
            min_duration_s=_number(request, "min_duration", 0.0),
            failed=None if failed is None else failed == "true",
            limit=_limit(request),
        )
        return {"spans": spans(self._storage.search_spans(query))}

    def _trace(self, request: Request) -> dict[str, Any]:
        """`{trace_id, spans, logs}`: all spans by their start, and the log records that belong to them."""
        trace_id = _trace_id(request.path_params["trace_id"])
        records = self._storage.search_logs(LogQuery(trace_id=trace_id, limit=MAX_LIMIT))
        return {"trace_id": trace_id, "spans": spans(self._storage.trace(trace_id)), "logs": logs(records)}

    def _logs(self, request: Request) -> dict[str, Any]:
        """`{logs: [{time_s, severity, severity_text, body, service, trace_id, ...}]}`, the latest first."""
        trace_id = _text(request, "trace_id")
        # What belongs to a trace is found whenever it was, unless a range is asked for.
        since_s, until_s = (0.0, 2e10) if trace_id and "since" not in request.query_params else self._range(request)
        query = LogQuery(
            service=_text(request, "service"),
            trace_id=_trace_id(trace_id) if trace_id else None,
            start_s=since_s,
            end_s=until_s,
            min_severity=_severity(_text(request, "severity")),
            text=_text(request, "text") or "",
            limit=_limit(request),
        )
        return {"logs": logs(self._storage.search_logs(query))}

    def _range(self, request: Request) -> tuple[float, float]:
        now_s = self._clock()
        until_s = _number(request, "until", now_s)
        return _number(request, "since", until_s - RANGE_S), until_s


def spans(found: Sequence[StoredSpan]) -> list[dict[str, Any]]:
    """As JSON says them."""
    return [
        {
            **asdict(span),
            "attributes": attributes_text(span.attributes),
            "events": [{**asdict(each), "attributes": attributes_text(each.attributes)} for each in span.events],
        }
        for span in found
    ]


def logs(found: Sequence[LogRecord]) -> list[dict[str, Any]]:
    """As JSON says them."""
    return [{**asdict(record), "attributes": attributes_text(record.attributes)} for record in found]


def _answering(find: Callable[[Request], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        try:
            body = await asyncio.to_thread(lambda: orjson.dumps(find(request)))
            return Response(body, media_type="application/json")
        except QueryError as error:
            return Response(orjson.dumps({"error": str(error)}), 400, media_type="application/json")

    return respond


def _text(request: Request, name: str) -> str | None:
    """A parameter's value, None where it is not given or empty."""
    return request.query_params.get(name, "")[:MAX_TEXT] or None


def _number(request: Request, name: str, default: float) -> float:
    text = _text(request, name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise QueryError("bad_data", f"{name} must be a number of seconds, got {text!r}")
    return min(max(value, 0.0), 2e10)


def _limit(request: Request) -> int:
    return int(min(max(_number(request, "limit", 100.0), 1.0), MAX_LIMIT))


def _trace_id(text: str) -> str:
    if not _TRACE_ID.fullmatch(text.lower()):
        raise QueryError("bad_data", f"a trace's id must be 32 hexadecimal digits, got {text[:64]!r}")
    return text.lower()


def _severity(text: str | None) -> int:
    """The number of a severity's name, or the number itself."""
    if text is None:
        return 0
    if text.lower() in SEVERITIES:
        return SEVERITIES[text.lower()]
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 24:
        return int(text)
    raise QueryError("bad_data", f"severity must be one of {', '.join(SEVERITIES)}, or 1 to 24, got {text!r}")
