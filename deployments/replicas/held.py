"""A loaded version: what answers by it, its directory, and the requests it is answering."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from starlette.types import Receive, Scope, Send

from deployments.replicas.node_cache import LocalCopy

DRAIN_CHECK_S = 0.02


class Served(Protocol):
    """One loaded version."""

    def start(self) -> None:
        """Begin to take requests; the event loop runs."""

    def serve(self) -> None:
        """Requests that name no version come here from now on."""

    async def stop(self) -> None:
        """Let go of the model; no request is under way."""


class ServedApp(Served, Protocol):
    """The same as an ASGI application."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request."""


S = TypeVar("S", bound=Served)


@dataclass(kw_only=True, eq=False)
class Held(Generic[S]):
    """A version that is loaded."""

    app: S
    copy: LocalCopy
    started: bool = False
    ongoing: int = 0
    """Requests that have begun and not ended."""

    def start(self) -> None:
        """Let it take requests; the event loop runs."""
        if not self.started:
            self.started = True
            self.app.start()

    async def end(self) -> None:
        """Let go of the model and of its directory, once what has begun is answered."""
        while self.ongoing:
            await asyncio.sleep(DRAIN_CHECK_S)
        await self.app.stop()
        self.copy.release()
