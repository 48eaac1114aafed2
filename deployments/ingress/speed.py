"""How fast a replica's node runs its model: what the ingress weighs it by (`weights.lua`)."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.http.asgi import respond

PATH = "/-/speed"
"""Asked of a replica's own port; the ingress hands nobody else's request for it on."""


def telling_speed(ray: ASGIApp, speed: Callable[[], float]) -> ASGIApp:
    """An application that answers `PATH` with `speed`, in work per second, and leaves everything else to `ray`."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await respond(send, 200, f"{speed():.6g}".encode(), ((b"content-type", b"text/plain"),))
        else:
            await ray(scope, receive, send)

    return answer
