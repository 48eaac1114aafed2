"""The page's ASGI application.

    /, /telemetry/             the page, with its scripts and styles beside it
    .../api/overview           who reports, each with small lines over a range
    .../api/services           who reports, with last signals
    .../api/series?service=    one service's plots, processes, artifact and traces
    .../api/process?service=&instance=    one process
    .../api/node?node=         what runs on a node
    .../api/alerts             all alerts

A range is `since` and `until` in Unix seconds, or the last `range` seconds (15 minutes where nothing is said);
`compare` is how many seconds earlier the range lies that is drawn beside it, `points` the most that a line may have.
Every path is served
both bare and under /telemetry, so that the application works behind a prefix (`root_path`) as well as alone. Links
are relative; nothing is loaded from another origin.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import orjson
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.page import files, processes, views
from telemetry.page.grid import MAX_POINTS
from telemetry.page.picture import Picture
from telemetry.page.slow import slowest
from telemetry.page.sources import Json, Range, Sources

PREFIX = "/telemetry"
LONGEST_S = 400 * 86400.0
"""Seconds that one answer covers at most."""

_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def application(sources: Sources, lifespan: Lifespan | None = None, others: Sequence[BaseRoute] = ()) -> Starlette:
    """The page and the JSON behind it, beside the routes of `others`."""
    rooms = sorted({room for route in others if (room := _room(route))})

    async def services(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        """`{now, num_refused, num_skewed, services}`, each service with name, versions, roles, num_instances, seen,
        num_firing and last; `rooms` are those beside the page that answer.
        """
        return _json(views.services(sources) | {"rooms": rooms})

    async def overview(request: Request) -> Response:
        """`services`, each with `sparks`, lines of 60 points, and `nodes: [{node, num_instances, services, cpu,
        memory}]`.
        """
        more = {"nodes": processes.nodes(sources), "rooms": rooms}
        return await _drawn(views.overview(sources, _range(request, sources.clock())), lambda: more)

    async def series(request: Request) -> Response:
        """`{now, since, until, service, times, plots: [{key, title, unit, lines: [{label, values, last}]}], last,
        instances, artifact, slow: [{time, value, trace_id}], traces, full_in_s}`.

        `service` is a name from `services`; a line has at most `points` (600) values, null where there is none, with
        `low` and `high` where a value covers several, and `before` where it is compared.
        """
        name = request.query_params.get("service", "")
        shown = _range(request, sources.clock())
        picture = views.series(sources, name, shown)
        if picture is None:
            raise _unknown("service", name)
        return await _drawn(picture, lambda: {"slow": slowest(sources.storage, name, shown)})

    async def process(request: Request) -> Response:
        """`{now, since, until, process, times, plots}`; `instance` is one of `instances` in `series`."""
        of, name = request.query_params.get("service", ""), request.query_params.get("instance", "")
        service = sources.services.get(of)
        instance = service.instances.get(name) if service else None
        if service is None or instance is None:
            raise _unknown("instance", name) if service else _unknown("service", of)
        return await _drawn(processes.process(sources, service, instance, _range(request, sources.clock())))

    async def node(request: Request) -> Response:
        """`{now, since, until, node, processes, times, plots}`; `node` is one of `nodes` in `overview`."""
        name = request.query_params.get("node", "")
        picture = processes.node(sources, name, _range(request, sources.clock()))
        if picture is None:
            raise _unknown("node", name)
        return await _drawn(picture)

    async def alerts(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        """`{now, alerts: [{id, service, signal, state, started_s, fired_s, resolved_s, value, ..., sentence}]}`."""
        return _json(views.alerts(sources))

    paths: list[BaseRoute] = [
        Route("/api/overview", overview),
        Route("/api/services", services),
        Route("/api/series", series),
        Route("/api/process", process),
        Route("/api/node", node),
        Route("/api/alerts", alerts),
        *others,
        *files.routes(),
    ]
    return Starlette(
        routes=[Mount(PREFIX, routes=paths), *paths],
        middleware=[Middleware(_Edge)],
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )


class _Edge:
    """Adds the headers that keep the page from loading what is not its own, and the slash that relative links need."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        app = self._app
        if scope["path"] == (scope.get("root_path") or PREFIX):
            # Relative as well, for whatever a proxy puts before it.
            app = RedirectResponse(scope["path"].rpartition("/")[2] + "/")
        await app(scope, receive, with_headers)


def _room(route: BaseRoute) -> str:
    """What a room is called by its path: `/api/traces/{id}` is of `traces`; empty where it answers others than us."""
    path = route.path if isinstance(route, Route) else ""
    return path.removeprefix("/api/").partition("/")[0] if path.startswith("/api/") else ""


def _range(request: Request, now_s: float) -> Range:
    """The range that the query asks for.

    Raises:
        HTTPException: one of its numbers is none, or `points` lies outside its limits.
    """
    until_s = min(_number(request, "until", now_s, "a time in Unix seconds"), now_s)
    range_s = _number(request, "range", 900.0, "a number of seconds")
    since_s = _number(request, "since", until_s - range_s, "a time in Unix seconds")
    compare_s = _number(request, "compare", 0.0, "a number of seconds")
    max_points = _number(request, "points", MAX_POINTS, "a number")
    if not 1 <= max_points <= MAX_POINTS:
        raise HTTPException(400, f"points must lie in [1, {MAX_POINTS}], got {max_points:g}")
    return Range(
        since_s=min(max(since_s, until_s - LONGEST_S), until_s),
        until_s=until_s,
        compare_s=max(0.0, compare_s) or None,
        max_points=int(max_points),
    )


def _number(request: Request, name: str, default: float, meaning: str) -> float:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise HTTPException(400, f"{name} must be {meaning}, got {text[:40]!r}")
    return value


def _unknown(name: str, got: str) -> HTTPException:
    return HTTPException(404, f"{name} must be one that has reported, got {got[:256]!r}")


async def _refused(request: Request, refusal: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    assert isinstance(refusal, HTTPException)
    return _json({"error": refusal.detail}, refusal.status_code)


async def _drawn(view: Picture | views.Overview, more: Callable[[], Json] = dict) -> Response:
    """Read and drawn in a thread, with `more` beside it: what comes in meanwhile does not wait."""
    body = await asyncio.to_thread(lambda: _encoded(view.answer() | more()))
    return Response(body, media_type="application/json")


def _json(content: Json, status_code: int = 200) -> Response:
    return Response(_encoded(content), status_code, media_type="application/json")


def _encoded(content: Json) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
