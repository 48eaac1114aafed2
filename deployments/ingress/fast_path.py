"""The fast path from a replica's HTTP server to its model, past what Ray's wrapper does for each request.

    HAProxy -> uvicorn in the replica -> fast path -+- the model's route -> the model's application
                                                   +- anything else     -> Ray's wrapper: health checks, unknown paths

Small inference requests are answered still nearer to the socket: `deployments.ingress.protocol`.

Ray asks for `middlewares` for each HTTP server it starts (`deployments.ingress.servers`) and puts them outermost.
docs/decisions/0006-fast-path.md says what this buys and what Ray no longer does.
"""

import asyncio
from collections.abc import Callable

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.http.asgi import error_body, respond
from deployments.ingress import protocol
from deployments.ingress.speed import telling_speed

_opened: "list[FastPath]" = []
"""This process's fast path; empty wherever no model lives, such as in Ray's own proxy."""


def _unknown() -> float:
    return 0.0


class FastPath:
    """`app` under the route `prefix`, and the event loop it lives in. Ray gets it in place of `app`."""

    def __init__(
        self, prefix: str, app: ASGIApp, *, speed: Callable[[], float] = _unknown, needs_client_address: bool = False
    ) -> None:
        """`speed` is the model's here, in work per second, 0 where it is not known; `needs_client_address` says that
        uvicorn's middleware must find out the client's address for `app`."""
        self.prefix = prefix
        self.app = app
        self.speed = speed
        self.needs_client_address = needs_client_address
        self.loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What Ray calls: the lifespan always, requests where there is no fast path."""
        if scope["type"] == "lifespan":
            self.loop = asyncio.get_running_loop()
        await self.app(scope, receive, send)


def open_fast_path(
    prefix: str, app: ASGIApp, *, speed: Callable[[], float] = _unknown, needs_client_address: bool = False
) -> FastPath:
    """Offer `app` to the HTTP servers that this process starts from now on."""
    _opened[:] = [FastPath(prefix, app, speed=speed, needs_client_address=needs_client_address)]
    return _opened[0]


def middlewares() -> list[Middleware]:
    """The fast path, where this process has a model in the HTTP server's own event loop; no list of routes."""
    loop = asyncio.get_running_loop()
    opened = [path for path in _opened if path.loop is loop]
    for path in opened:
        protocol.install(path.prefix, None if path.needs_client_address else path.app)
    paths = [(Middleware(telling_speed, path.speed), Middleware(past_wrapper, path)) for path in opened]
    return [Middleware(without_routes), *(middleware for path in paths for middleware in path)]


def without_routes(ray: ASGIApp) -> ASGIApp:
    """`ray` without its list of applications, told to whoever asks; `/v2/models` has it, for those with a key."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/-/routes":
            await respond(send, 404, error_body("see GET /v2/models"))
        else:
            await ray(scope, receive, send)

    return refuse


def past_wrapper(ray: ASGIApp, fast_path: FastPath) -> ASGIApp:
    """An application that answers the fast path's route itself and leaves everything else to `ray`."""
    app, prefix = fast_path.app, fast_path.prefix
    below = f"{prefix}/"

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if scope["type"] == "http" and (path.startswith(below) or path == prefix):
            scope["root_path"] = prefix
            await app(scope, receive, send)
        else:
            await ray(scope, receive, send)

    return choose
