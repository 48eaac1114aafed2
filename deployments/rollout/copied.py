"""A request that is noted while a version answers it, so that another may be asked the same."""

from dataclasses import replace

from starlette.types import Message, Receive, Scope

from deployments.http.asgi import Call, ParsedBody, parsed_body

MOST_COPIED_BYTES = 2**20
"""A request with more is not copied."""


class Copied:
    """Notes a request's body as it is read."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        parsed = parsed_body(scope)
        self._parsed = parsed and replace(parsed)
        self._chunks: list[bytes] = []
        self._size = 0

    def receive(self, receive: Receive) -> Receive:
        """`receive`, noted."""

        async def noting() -> Message:
            message = await receive()
            chunk = message.get("body", b"")
            self._size += len(chunk)
            if self._size <= MOST_COPIED_BYTES:
                self._chunks.append(chunk)
            return message

        return noting

    def call(self) -> Call | None:
        """The request, where it was not too large."""
        size = self._parsed.size_bytes if self._parsed else self._size
        return call_of(self._scope, b"".join(self._chunks), self._parsed) if size <= MOST_COPIED_BYTES else None


def call_of(scope: Scope, body: bytes, parsed: ParsedBody | None) -> Call:
    """The request of `scope`, whose body was read."""
    return Call(
        method=scope["method"],
        path=scope["path"],
        headers=tuple(scope["headers"]),
        body=body,
        parsed=parsed,
        client=scope.get("client"),
    )
