"""How long an answer took, measured alike for both versions of a rollout."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send


async def timed(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> tuple[float, int | None]:
    """Seconds from when the request was there until its answer was, and the answer's status, none where the client left
    without one.
    """
    began_s = time.perf_counter()
    is_whole = False

    async def noting_receive() -> Message:
        nonlocal began_s, is_whole
        message = await receive()
        if not is_whole and not message.get("more_body", False):
            is_whole, began_s = True, time.perf_counter()
        return message

    noting = Noting(send)
    await app(scope, noting_receive, noting)
    return noting.at_s - began_s, noting.status or None


class Noting:
    """Sends on, and notes the status and when it was sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.at_s = 0.0

    async def __call__(self, message: Message) -> None:
        """Send it."""
        if message["type"] == "http.response.start":
            self.status, self.at_s = message["status"], time.perf_counter()
        await self._send(message)
