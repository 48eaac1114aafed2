"""The short way from a replica's HTTP server to its model, past what Ray's wrapper does for each request.

    HAProxy -> uvicorn in the replica -> short_way -+- the model's route -> the model's application
                                                    +- anything else     -> Ray's wrapper: health checks, unknown paths

Small inference requests are answered still nearer to the socket: `deployments.ingress.protocol`.

Ray asks `middlewares` for each HTTP server it starts (`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`) and puts them
outermost. docs/decisions/0006-short-way.md says what this buys and what Ray no longer does.
"""

import asyncio

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.asgi import error_body, respond
from deployments.ingress import protocol

_opened: "list[Lane]" = []
"""This process's lane; empty wherever no model lives, such as in Ray's own proxy."""


class Lane:
    """`app` under the route `prefix`, and the event loop it lives in. Ray gets it in place of `app`."""

    def __init__(self, prefix: str, app: ASGIApp, *, asks_who: bool = False) -> None:
        """`asks_who` says that `app` must know the client's address, which uvicorn's middleware finds out."""
        self.prefix = prefix
        self.app = app
        self.asks_who = asks_who
        self.loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What Ray calls: the lifespan always, requests where there is no short way."""
        if scope["type"] == "lifespan":
            self.loop = asyncio.get_running_loop()
        await self.app(scope, receive, send)


def open_lane(prefix: str, app: ASGIApp, *, asks_who: bool = False) -> Lane:
    """Offer `app` to the HTTP servers that this process starts from now on."""
    _opened[:] = [Lane(prefix, app, asks_who=asks_who)]
    return _opened[0]


def middlewares() -> list[Middleware]:
    """The short way, where this process has a model that lives in the HTTP server's own event loop; no routes told."""
    loop = asyncio.get_running_loop()
    lanes = [lane for lane in _opened if lane.loop is loop]
    for lane in lanes:
        protocol.install(lane.prefix, None if lane.asks_who else lane.app)
    return [Middleware(without_routes), *(Middleware(short_way, lane) for lane in lanes)]


def without_routes(ray: ASGIApp) -> ASGIApp:
    """`ray` without its list of applications, told to whoever asks; `/v2/models` has it, for those with a key."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/-/routes":
            await respond(send, 404, error_body("see GET /v2/models"))
        else:
            await ray(scope, receive, send)

    return refuse


def short_way(ray: ASGIApp, lane: Lane) -> ASGIApp:
    """An application that answers the lane's route itself and leaves everything else to `ray`."""
    app, prefix = lane.app, lane.prefix
    below = f"{prefix}/"

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if scope["type"] == "http" and (path.startswith(below) or path == prefix):
            scope["root_path"] = prefix
            await app(scope, receive, send)
        else:
            await ray(scope, receive, send)

    return choose
