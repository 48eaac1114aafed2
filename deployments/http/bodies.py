"""The bodies of requests: each of bounded size, and together within the byte budget."""

from starlette.types import Receive, Scope

from deployments.errors import BodyTooLargeError
from deployments.execution.byte_budget import ByteBudget
from deployments.http.asgi import header, read_body
from deployments.oip import compression


class Bodies:
    """Those of one model; whoever takes one releases its bytes."""

    def __init__(self, max_body_bytes: int, budget: ByteBudget) -> None:
        self._max_body_bytes = max_body_bytes
        self._budget = budget

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """The request's body, unpacked; it reserves its bytes.

        Raises:
            BodyTooLargeError: it has more than may be, packed or unpacked.
            OverloadedError: the budget has no bytes left for it.
            RequestError: it cannot be unpacked.
            ClientGone: the connection closed.
        """
        body = await read_body(scope, receive, self._max_body_bytes, self._budget)
        encoding = header(scope, b"content-encoding")
        if not encoding:
            return body
        try:
            unpacked = compression.decompress(body, encoding, self._max_body_bytes)
        finally:
            self._budget.release(len(body))
        self._budget.reserve(len(unpacked))
        return unpacked

    def reserve(self, size_bytes: int) -> None:
        """Reserve the bytes of a body that is there already.

        Raises:
            BodyTooLargeError: it has more than may be.
            OverloadedError: the budget has no bytes left for it.
        """
        if size_bytes > self._max_body_bytes:
            raise BodyTooLargeError(f"the body must have at most {self._max_body_bytes} bytes, got {size_bytes}")
        self._budget.reserve(size_bytes)

    def release(self, size_bytes: int) -> None:
        """Give back the bytes of a body that has been answered."""
        self._budget.release(size_bytes)
