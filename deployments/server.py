"""The endpoints that speak for the whole server: `/v2`, `/v2/health/...`, `/v2/repository/index`, and any lost path."""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.asgi import error_body, path_below
from deployments.ingress import IngressLog
from deployments.meters import RequestMeter
from telemetry.emit import Emitter

Models = Callable[[], Mapping[str, bool]]
"""Asks the cluster which models there are and whether each is ready; may block for a moment."""

EXTENSIONS = ("binary_tensor_data", "generate", "model_repository(index)")


def server_app(models: Models, emitter: Emitter, ingress: IngressLog | None = None) -> ASGIApp:
    """The ASGI application mounted at `/v2`.

    GET  /v2                      name, version, extensions
    GET  /v2/health/live          this process answers
    GET  /v2/health/ready         every model answers
    GET  /v2/models               the index, for people
    POST /v2/repository/index     the index, as Triton's clients ask for it

    Where `ingress` is given, it listens as long as the application lives.
    """
    meter = RequestMeter(emitter)

    async def metadata(_: Request) -> Response:
        return _json({"name": "trimtab", "version": version("trimtab"), "extensions": list(EXTENSIONS)})

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def ready(_: Request) -> Response:
        found = await run_in_threadpool(models)
        is_ready = all(found.values())
        return _json({"ready": is_ready, "live": True}, 200 if is_ready else 503)

    async def index(_: Request) -> Response:
        found = await run_in_threadpool(models)
        return _json([{"name": n, "state": "READY" if is_ready else "UNAVAILABLE"} for n, is_ready in found.items()])

    async def lost_model(request: Request) -> Response:
        name = request.path_params["model"]
        found = await run_in_threadpool(models)
        if name in found:  # known, but the ingress found no replica to send the request to
            return _error(f"model {name!r} is not ready", 503)
        return _error(f"model {name!r} is not served, only {', '.join(sorted(found)) or 'none yet'}", 404)

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _error(f"{error.detail}: see GET /v2", error.status_code)

    def measured(route: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            start_ns = time.time_ns()
            response = await endpoint(request)
            meter.request(
                method=request.method,
                route=route,
                status=response.status_code,
                start_ns=start_ns,
                end_ns=time.time_ns(),
                traceparent=request.headers.get("traceparent"),
            )
            return response

        return answer

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        emitter.start()
        if ingress:
            await ingress.start()
        yield
        if ingress:
            await ingress.stop()
        await run_in_threadpool(emitter.shutdown)

    paths: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("GET", "/", metadata),
        ("GET", "/health/live", live),
        ("GET", "/health/ready", ready),
        ("GET", "/models", index),
        ("POST", "/repository/index", index),
    ]
    routes = [
        Route(path, measured(f"/v2{path}".rstrip("/"), endpoint), methods=[method]) for method, path, endpoint in paths
    ]
    any_method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    lost = measured("/v2/models/{model}", lost_model)
    routes += [Route(path, lost, methods=any_method) for path in ("/models/{model}", "/models/{model}/{rest:path}")]
    app = Starlette(routes=routes, exception_handlers={HTTPException: refused}, lifespan=lifespan)

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":  # Starlette's routes begin with a slash, the bare prefix leaves none
            scope = {**scope, "path": path_below(scope) or "/", "root_path": ""}
        await app(scope, receive, send)

    return mounted


def model_of(path: str) -> str | None:
    """The model whose own application answers `path`; none where the server does."""
    name, _, rest = path.removeprefix("/v2/models/").partition("/")
    return name if path.startswith("/v2/models/") and (name, rest) != ("stats", "") else None


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _error(message: str, status: int) -> Response:
    return Response(error_body(message), status, media_type="application/json")
