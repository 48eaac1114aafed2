"""A pipeline as an ASGI application: what a model answers, for as long as the replica lives."""

import asyncio
from collections.abc import Callable, Sequence

import orjson
from starlette.types import Receive, Scope, Send

from deployments.http.asgi import respond
from deployments.http.model import ModelApp
from deployments.stages.worker import Worker
from telemetry.emitting.emitter import Emitter


class PipelineApp:
    """Hands requests to `model`; with it live the stages that run here, and what looks for those that do not."""

    def __init__(
        self,
        name: str,
        model: ModelApp,
        workers: Sequence[Worker],
        *,
        keep_looking: Callable[[], "asyncio.Future[None]"],
        missing: Callable[[], Sequence[str]],
        emitter: Emitter,
    ) -> None:
        """`keep_looking` looks for replicas of the other stages until it is cancelled; `missing` names the stages that
        have none."""
        self._name = name
        self._model = model
        self._workers = workers
        self._keep_looking = keep_looking
        self._missing = missing
        self._emitter = emitter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["path"].endswith("/ready") and (missing := self._missing()):
            error = f"no replica answers for {', '.join(missing)}"
            body = {"name": self._name, "ready": False, "live": True, "error": error}
            await respond(send, 503, orjson.dumps(body))
        else:
            await self._model(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        for worker in self._workers:
            worker.start()
        looking = self._keep_looking()
        self._model.start()
        self._model.serve()
        self._emitter.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._model.stop()
        looking.cancel()
        for worker in self._workers:
            await worker.stop()
        await asyncio.to_thread(self._emitter.shutdown)
        await send({"type": "lifespan.shutdown.complete"})
