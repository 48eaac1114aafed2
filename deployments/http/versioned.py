"""A model's ASGI application: hands each request to the version its path names, else to the one that answers."""

import asyncio
import re
from typing import Generic, TypeVar

import orjson
from starlette.types import Receive, Scope, Send

from deployments.errors import NotFoundError, RequestError, UnavailableError
from deployments.http.asgi import error_body, path_below, respond
from deployments.replicas.held import Held, ServedApp
from deployments.replicas.versions import Versions
from deployments.rollout.canary import NoPart, RolloutPart
from telemetry.emitting.emitter import Emitter

_VERSION = re.compile(r"/versions/(?P<version>[^/]+)(?P<action>.*)")


A = TypeVar("A", bound=ServedApp)


class VersionedModel(Generic[A]):
    """Lives as long as the replica: with it, `versions` looks for new ones and `emitter` reports."""

    def __init__(self, versions: Versions[A], emitter: Emitter, part: RolloutPart | None = None) -> None:
        """`part` is the replica's in rollouts: its canary shares requests that name no version with another one."""
        self._versions = versions
        self._emitter = emitter
        self._part = part or NoPart()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        held, canary = self._versions.answering, self._part.canary
        if held is None or "/versions/" in scope["path"]:
            held, canary = await self._named(scope, send), None
        elif scope["path"].endswith("/ready") and (behind := self._versions.behind()):
            body = {"name": self._versions.name, "ready": False, "live": True, "error": behind}
            await respond(send, 503, orjson.dumps(body))
            return
        if held is None:
            return
        held.ongoing += 1
        try:
            if canary is None:
                await held.app(scope, receive, send)
            else:
                await canary.answer(held.app, scope, receive, send)
        finally:
            held.ongoing -= 1

    async def _named(self, scope: Scope, send: Send) -> Held[A] | None:
        """The version that the path names; where there is none, the client is told and none is returned."""
        match = _VERSION.fullmatch(path_below(scope))
        version = match["version"] if match else None
        held = self._versions.find(version)
        if held is not None:
            return held
        problem = self._problem(version)
        if match and match["action"] == "/ready" and self._versions.failure(match["version"]):
            body = {"name": self._versions.name, "ready": False, "live": True, "error": str(problem)}
            await respond(send, problem.status, orjson.dumps(body))
        else:
            await respond(send, problem.status, error_body(str(problem)))
        return None

    def _problem(self, version: str | None) -> RequestError:
        name = self._versions.name
        if version is None:
            return UnavailableError(f"model {name!r} is unloaded: load it to use it")
        if reason := self._versions.failure(version):
            return UnavailableError(f"version {version!r} of model {name!r} failed: {reason}")
        ready = ", ".join(map(repr, self._versions.ready())) or "none"
        return NotFoundError(f"model {name!r} has version {ready} ready, not {version!r}")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._versions.start()
        self._part.start()
        self._emitter.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._part.stop()
        await self._versions.stop()
        await asyncio.to_thread(self._emitter.shutdown)
        await send({"type": "lifespan.shutdown.complete"})
