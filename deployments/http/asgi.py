"""The little HTTP that the replicas need on the hot path: bodies in, JSON out."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import BodyTooLargeError
from deployments.execution.byte_budget import ByteBudget

_T = TypeVar("_T")

JSON = ((b"content-type", b"application/json"),)
MESSAGE = "trimtab.message"
"""Names the extension of ASGI by which messages pass as they are, and the event that sends one back."""


class ClientGone(Exception):  # noqa: N818 - an event, not an error
    """The client hung up before its request was whole."""


def header(scope: Scope, name: bytes) -> str | None:
    """Value of the request header `name` (lower case)."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


@dataclass(kw_only=True, slots=True)
class ParsedBody:
    """A body that its transport has parsed, such as a gRPC message; it comes in a scope's `extensions`."""

    message: Any
    size_bytes: int
    """Of the body before that."""

    def take(self) -> Any:
        """The message, handed over once: so it does not lie here while what was made of it waits."""
        message, self.message = self.message, None
        return message


def parsed_body(scope: Scope) -> ParsedBody | None:
    """The request's body where it was parsed already; it is answered by `respond_message`."""
    extensions = scope.get("extensions")
    return extensions.get(MESSAGE) if extensions else None


def path_below(scope: Scope) -> str:
    """The request's path below the application's route prefix, such as "/infer"; empty for the prefix itself."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def read_body(scope: Scope, receive: Receive, limit_bytes: int, budget: ByteBudget | None = None) -> bytes:
    """The whole request body; its bytes are reserved in `budget`, and the caller releases them.

    Raises:
        BodyTooLargeError: it has more than `limit_bytes`; what was announced is believed, the rest is counted.
        OverloadedError: `budget` has no bytes left for it.
        ClientGone: the connection closed.
    """
    announced = header(scope, b"content-length")
    if announced is not None and announced.isascii() and announced.isdigit() and len(announced) <= 20:
        if int(announced) > limit_bytes:
            raise BodyTooLargeError(f"the body must have at most {limit_bytes} bytes, got {announced}")
        if budget:
            budget.check(int(announced))
    chunks: list[bytes] = []
    size = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            if size + len(chunk) > limit_bytes:
                raise BodyTooLargeError(f"the body must have at most {limit_bytes} bytes, got more")
            if budget:
                budget.reserve(len(chunk))
            size += len(chunk)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except BaseException:
        if budget:
            budget.release(size)
        raise


async def while_connected(answer: Coroutine[Any, Any, _T], receive: Receive) -> _T:
    """Await `answer`; let go of it when the client hangs up.

    Raises:
        ClientGone: it did.
    """
    task = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def respond(send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = JSON) -> None:
    """Send a whole response."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def respond_message(send: Send, message: Any) -> None:
    """Send a message as the whole response, to where the request's own came from."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": MESSAGE, "message": message})


def error_body(error: str) -> bytes:
    """An error as the protocol words it."""
    return orjson.dumps({"error": error})


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request that another part of Trimtab makes of an application, past any socket."""

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    parsed: ParsedBody | None = None
    """Its body instead, where that is a message."""
    client: tuple[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the application said."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    message: Any = None
    """The answer to a message, where it is not an error."""


async def call(app: ASGIApp, request: Call, root_path: str) -> Answer:
    """What `app`, mounted at `root_path`, answers; cancelled where the caller is."""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": request.method,
        "path": request.path,
        "root_path": root_path,
        "query_string": b"",
        "headers": request.headers,
        "client": request.client,
        "server": None,
        "extensions": {MESSAGE: request.parsed} if request.parsed else {},
    }
    body = iter((request.body,))
    status = 500
    headers: tuple[tuple[bytes, bytes], ...] = ()
    chunks: list[bytes] = []
    answered: Any = None

    async def receive() -> Message:
        for whole in body:
            return {"type": "http.request", "body": whole}
        await asyncio.Event().wait()  # the caller stays until it has its answer
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        nonlocal status, headers, answered
        if message["type"] == "http.response.start":
            status, headers = message["status"], tuple(message["headers"])
        elif message["type"] == MESSAGE:
            answered = message["message"]
        else:
            chunks.append(message.get("body", b""))

    await app(scope, receive, send)
    return Answer(status=status, headers=headers, body=b"".join(chunks), message=answered)
