"""Prometheus' HTTP API (https://prometheus.io/docs/prometheus/latest/querying/api/), as Grafana's data source asks it.

query, query_range               PromQL
series, labels, label/<name>/values, metadata
query_exemplars                  values with the traces that they are of
status/buildinfo, rules, alerts  what else Grafana asks; the last two are empty
"""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson
import promql_parser as ast
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry.queries import shape
from telemetry.queries.engine import Engine
from telemetry.queries.errors import QueryError
from telemetry.queries.labels import NAME, Labels
from telemetry.queries.matching import Matcher
from telemetry.queries.parsing import selector_of, selectors_of

PREFIX = "/prometheus/api/v1"
MAX_FORM_BYTES = 256 * 1024
MAX_AT_ONCE = 2
"""Queries that are computed at the same time."""
MAX_WAITING = 32
"""Queries that wait for these; further ones are told to come back."""
DEFAULT_RANGE_S = 3600.0
"""How far back series and labels are looked for, where no start is given."""

_STATUSES = {"bad_data": 400, "execution": 422, "timeout": 503, "unavailable": 503}
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Parameters = list[tuple[str, str]]


class PrometheusApi:
    """The routes, over one engine."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)
        self._num_waiting = 0

    def routes(self) -> list[Route]:
        """All of them, below `PREFIX`."""
        both = ["GET", "POST"]
        return [
            Route(f"{PREFIX}/query", self._answering(self._query), methods=both),
            Route(f"{PREFIX}/query_range", self._answering(self._query_range), methods=both),
            Route(f"{PREFIX}/series", self._answering(self._series), methods=both),
            Route(f"{PREFIX}/labels", self._answering(self._labels), methods=both),
            Route(f"{PREFIX}/label/{{name}}/values", self._answering(self._label_values)),
            Route(f"{PREFIX}/metadata", self._answering(self._metadata)),
            Route(f"{PREFIX}/status/buildinfo", self._answering(_buildinfo)),
            Route(f"{PREFIX}/rules", self._answering(lambda _: {"groups": []})),
            Route(f"{PREFIX}/alerts", self._answering(lambda _: {"alerts": []})),
            Route(f"{PREFIX}/query_exemplars", self._answering(self._query_exemplars), methods=both),
        ]

    def _answering(self, answer: Callable[[Parameters], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            try:
                parameters = [*await _parameters(request), *(("", str(each)) for each in request.path_params.values())]
                body = await self._in_turn(lambda: _encoded({"status": "success", "data": answer(parameters)}))
                return Response(body, media_type="application/json")
            except QueryError as error:
                said = {"status": "error", "errorType": error.kind, "error": str(error)}
                return Response(_encoded(said), _STATUSES[error.kind], media_type="application/json")

        return respond

    async def _in_turn(self, compute: Callable[[], bytes]) -> bytes:
        """In a thread, no more than `MAX_AT_ONCE` at a time."""
        if self._num_waiting >= MAX_WAITING:
            raise QueryError("unavailable", f"at most {MAX_WAITING} queries may wait; ask again later")
        self._num_waiting += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(compute)
        finally:
            self._num_waiting -= 1

    def _query(self, parameters: Parameters) -> Any:
        time_s = _time(parameters, "time", self._clock())
        answer = self._engine.instant(_one(parameters, "query"), _ms(time_s), _timeout(parameters))
        return shape.data(answer)

    def _query_range(self, parameters: Parameters) -> Any:
        start_s, end_s = _time(parameters, "start"), _time(parameters, "end")
        step_s = _duration("step", _one(parameters, "step"))
        query = _one(parameters, "query")
        return shape.data(self._engine.ranged(query, _ms(start_s), _ms(end_s), _ms(step_s), _timeout(parameters)))

    def _query_exemplars(self, parameters: Parameters) -> Any:
        selectors = selectors_of(_one(parameters, "query"), self._engine.limits)
        now_s = self._clock()
        start_s, end_s = _time(parameters, "start", now_s - DEFAULT_RANGE_S), _time(parameters, "end", now_s)
        return shape.exemplars(self._engine.source.exemplars(selectors, _ms(start_s), _ms(end_s)))

    def _series(self, parameters: Parameters) -> Any:
        if not any(key == "match[]" for key, _ in parameters):
            raise QueryError("bad_data", "no match[] parameter provided")
        return [dict(labels) for labels in self._found(parameters)]

    def _labels(self, parameters: Parameters) -> Any:
        return sorted({name for labels in self._found(parameters) for name, _ in labels})

    def _label_values(self, parameters: Parameters) -> Any:
        name = dict(parameters)[""]
        if not _LABEL.fullmatch(name):
            raise QueryError("bad_data", f'invalid label name: "{name[:100]}"')
        return sorted({value for labels in self._found(parameters) for key, value in labels if key == name})

    def _metadata(self, parameters: Parameters) -> Any:
        wanted = dict(parameters).get("metric")
        known = self._engine.source.metadata()
        return {
            metric: [{"type": each.type, "help": each.help, "unit": each.unit}]
            for metric, each in known.items()
            if wanted in (None, "", metric)
        }

    def _found(self, parameters: Parameters) -> Sequence[Labels]:
        """Series that fulfil any of the selectors; all of the range where there is none."""
        now_s = self._clock()
        start_s = _time(parameters, "start", now_s - DEFAULT_RANGE_S)
        end_s = _time(parameters, "end", now_s)
        selectors: list[list[Matcher]] = [
            selector_of(value, self._engine.limits) for key, value in parameters if key == "match[]"
        ]
        found: dict[Labels, None] = {}
        for matchers in selectors or [[Matcher(name=NAME, op="!=", value="")]]:
            found.update(dict.fromkeys(self._engine.source.labels(matchers, _ms(start_s), _ms(end_s))))
        return sorted(found)


def _buildinfo(_: Parameters) -> Any:
    return {"version": "2.53.0", "revision": "trimtab", "branch": "", "buildUser": "", "buildDate": "", "goVersion": ""}


async def _parameters(request: Request) -> Parameters:
    """Of the query string and of a form, which Grafana sends in place of a long query string."""
    parameters = list(request.query_params.multi_items())
    if request.method == "POST":
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/x-www-form-urlencoded":
            raise QueryError(
                "bad_data", f"content-type must be application/x-www-form-urlencoded, got {content_type!r}"
            )
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM_BYTES:
                raise QueryError("bad_data", f"the form must have at most {MAX_FORM_BYTES} bytes")
        try:
            parameters += parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1000)
        except ValueError:
            raise QueryError("bad_data", "the form must be URL-encoded UTF-8 text") from None
    return parameters


def _one(parameters: Parameters, name: str) -> str:
    value = dict(reversed(parameters)).get(name)
    if not value:
        raise QueryError("bad_data", f'invalid parameter "{name}": it must be given')
    return value


def _time(parameters: Parameters, name: str, default_s: float | None = None) -> float:
    """Unix seconds, or a date and time as RFC 3339 writes them."""
    text = dict(reversed(parameters)).get(name)
    if not text and default_s is not None:
        return default_s
    wrong = QueryError(
        "bad_data", f'invalid parameter "{name}": cannot parse {(text or "")[:40]!r} to a valid timestamp'
    )
    if not text:
        raise wrong
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            raise wrong from None
    if not math.isfinite(seconds) or abs(seconds) > 1e11:
        raise wrong
    return seconds


def _duration(name: str, text: str) -> float:
    """Seconds, or such as `5m`."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = ast.parse_duration(text).total_seconds()
        except (ValueError, OverflowError):
            seconds = math.nan
    if not math.isfinite(seconds) or abs(seconds) > 1e9:
        raise QueryError("bad_data", f'invalid parameter "{name}": cannot parse {text[:40]!r} to a valid duration')
    return seconds


def _timeout(parameters: Parameters) -> float:
    text = dict(reversed(parameters)).get("timeout")
    return _duration("timeout", text) if text else math.inf


def _ms(seconds: float) -> int:
    return round(seconds * 1e3)


def _encoded(content: Any) -> bytes:
    return orjson.dumps(content)
