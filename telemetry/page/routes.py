"""The page's ASGI application.

    /, /telemetry/             the page, with its scripts and styles beside it
    .../api/services           who reports, with last signals
    .../api/series?service=&since=    one service's plots, artifact and traces
    .../api/alerts             all alerts

Every path is served both bare and under /telemetry, so that the application works behind a prefix (`root_path`) as
well as alone. Links are relative; nothing is loaded from another origin.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry.page import views

PREFIX = "/telemetry"

_HERE = Path(__file__).parent
_FILES = {
    "": "text/html",
    "page.css": "text/css",
    "app.js": "text/javascript",
    "plots.js": "text/javascript",
    "format.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "uPlot.min.css": "text/css",
    "uPlot.iife.min.js": "text/javascript",
}
_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def application(
    sources: views.Sources, lifespan: Lifespan | None = None, others: Sequence[BaseRoute] = ()
) -> Starlette:
    """The page and the JSON behind it, beside the routes of `others`."""

    async def services(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        """`{now, num_refused, num_skewed, services}`, each service with name, versions, roles, num_instances, seen,
        num_firing and last.
        """
        return _json(views.services(sources))

    async def series(request: Request) -> Response:
        """`{now, since, service, times, plots: [{key, title, unit, lines: [{label, values, last}]}], last, artifact,
        traces}`.

        `service` is a name from `services`, `since` Unix seconds (15 minutes ago where it is left out); a line has at
        most 600 values, null where there is none.
        """
        name = request.query_params.get("service", "")
        service = sources.services.get(name)
        if service is None:
            return _json({"error": f"service must be one that has reported, got {name[:256]!r}"}, 404)
        now_s = sources.clock()
        try:
            since_s = float(request.query_params.get("since", now_s - 900))
        except ValueError:
            since_s = math.nan
        if not math.isfinite(since_s):
            got = request.query_params["since"][:40]
            return _json({"error": f"since must be a time in Unix seconds, got {got!r}"}, 400)
        return _json(views.series(sources, service, min(max(since_s, now_s - 24 * 3600), now_s)))

    async def alerts(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        """`{now, alerts: [{id, service, signal, state, started_s, fired_s, resolved_s, value, ..., sentence}]}`."""
        return _json(views.alerts(sources))

    paths: list[BaseRoute] = [
        Route("/api/services", services),
        Route("/api/series", series),
        Route("/api/alerts", alerts),
        *others,
        *(Route(f"/{name}", _file(name, media_type)) for name, media_type in _FILES.items()),
    ]
    return Starlette(
        routes=[Mount(PREFIX, routes=paths), *paths],
        middleware=[Middleware(_Edge)],
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


def _file(name: str, media_type: str) -> Callable[[Request], Any]:
    async def serve(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        return FileResponse(_HERE / (name or "index.html"), media_type=media_type)

    return serve


def _json(content: views.Json, status_code: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code, media_type="application/json")
