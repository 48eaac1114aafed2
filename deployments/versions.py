"""The versions of one model that a replica holds, and which of them answers.

    artifacts/<name>/ -> policy -> load, verify, warm up -> ready -> the newest of them serves
                                        |                              |
                                      failed, with its reason        replaced: answers what has begun, then goes

A swap is one assignment in the event loop, so a request is answered by one version from its start to its end. What
serves is let go of only once another version serves or somebody orders it.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson
from starlette.types import Receive, Scope, Send

from deployments.asgi import error_body, path_below, respond
from deployments.errors import NotFoundError, RequestError, UnavailableError
from optimization.artifact import ArtifactError, versions
from telemetry import conventions
from telemetry.emit import Emitter

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
DRAIN_CHECK_S = 0.02

Policy = tuple[str, ...] | None
"""The versions to hold, or none for the newest ones, whatever comes."""

_VERSION = re.compile(r"/versions/(?P<version>[^/]+)(?P<action>.*)")


class Served(Protocol):
    """One loaded version, as an ASGI application."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request."""

    def start(self) -> None:
        """Begin to take requests; the event loop runs."""

    def serve(self) -> None:
        """Requests that name no version come here from now on."""

    async def stop(self) -> None:
        """Let go of the model; no request is under way."""


@dataclass(frozen=True, kw_only=True)
class VersionStatus:
    """What the repository index says of a version, in Triton's words."""

    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = ""
    """Why it is not ready."""


@dataclass(kw_only=True, eq=False)
class _Held:
    app: Served
    started: bool = False
    ongoing: int = 0
    """Requests that have begun and not ended."""


@dataclass(frozen=True, kw_only=True)
class _Failure:
    reason: str
    files: tuple[Any, ...]
    """The directory as it was: a version is tried again once its files have changed."""


class Versions:
    """The ASGI application of a model: hands a request to the version its path names, else to the newest held.

    `load` makes a version ready and takes as long as that takes; it runs in a thread beside the requests.
    """

    def __init__(
        self,
        home: Path,
        load: Callable[[str], Served],
        *,
        policy: Policy,
        keep: int,
        emitter: Emitter,
        ordered: Callable[[], Policy] = lambda: None,
    ) -> None:
        """Load the newest version that is sound, so that the replica can answer.

        `ordered` is asked at each look for a policy that goes before `policy`; an empty one unloads the model.

        Raises:
            ArtifactError: there is none; the message says why the newest failed.
        """
        self._home = home
        self._load = load
        self._configured = policy
        self._ordered = ordered
        self._policy = self._now_wanted()
        self._keep = keep
        self._emitter = emitter
        self._loads = emitter.counter(conventions.VERSION_LOADS)
        self._held: dict[str, _Held] = {}
        self._failures: dict[str, _Failure] = {}
        self._known: set[str] = set()
        self._serving: str | None = None
        self._answering: _Held | None = None
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        for version in self._wanted():
            if self._hold(version):
                self._serve(version)
                return
        if self._policy == ():
            return
        raise ArtifactError(f"model {home.name!r} has no version that can be served: {self._why()}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        held = self._answering
        if held is None or "/versions/" in scope["path"]:
            held = await self._named(scope, send)
            if held is None:
                return
        held.ongoing += 1
        try:
            await held.app(scope, receive, send)
        finally:
            held.ongoing -= 1

    @property
    def ongoing(self) -> int:
        """Requests that have begun and not ended, of all versions."""
        return sum(held.ongoing for held in self._held.values())

    def ready(self) -> list[str]:
        """Versions that answer, oldest first."""
        return sorted(self._held, key=int)

    def held(self) -> list[Served]:
        """The versions that answer."""
        return [held.app for held in self._held.values()]

    def index(self) -> list[VersionStatus]:
        """Every version that is published or wanted, oldest first."""
        return [
            VersionStatus(version=version, state="READY")
            if version in self._held
            else VersionStatus(version=version, state="UNAVAILABLE", reason=self._reason(version))
            for version in sorted({*self._known, *self._held}, key=int)
        ]

    async def reload(self) -> list[VersionStatus]:
        """Look now, and try again what failed before; may be called from any event loop.

        Raises:
            ArtifactError: a version that is wanted cannot be loaded; those that can are held.
        """
        assert self._loop is not None, "the lifespan has not begun"
        run = asyncio.run_coroutine_threadsafe(self._reload(), self._loop)
        return await asyncio.wrap_future(run)

    async def look(self) -> None:
        """Load what is wanted and new, let the newest serve, let go of the rest."""
        async with self._lock:
            self._policy = await asyncio.to_thread(self._now_wanted)
            wanted = await asyncio.to_thread(self._wanted)
            sound: list[str] = []
            for version in wanted:
                if len(sound) == self._most(wanted):
                    break
                if await asyncio.to_thread(self._hold, version):
                    sound.append(version)
                    self._start(self._held[version])
                    if len(sound) == 1:
                        self._serve(version)
            if sound or self._policy == ():
                self._release(set(self._held) - set(sound))
            self._failures = {v: failure for v, failure in self._failures.items() if v in wanted}

    def _now_wanted(self) -> Policy:
        order = self._ordered()
        return self._configured if order is None else order

    def _most(self, wanted: list[str]) -> int:
        return self._keep if self._policy is None else len(wanted)

    def _wanted(self) -> list[str]:
        """Versions the policy asks for, newest first; more than are kept, lest some fail."""
        published = [str(version) for version in reversed(versions(self._home.parent, self._home.name))]
        self._known = {*published, *(self._policy or ())}
        return published if self._policy is None else sorted(self._policy, key=int, reverse=True)

    def _hold(self, version: str) -> bool:
        """Whether the version is loaded, after an attempt where its files are new."""
        if version in self._held:
            return True
        files = _files(self._home / version)
        failure = self._failures.get(version)
        if failure is not None and failure.files == files:
            return False
        try:
            self._held[version] = _Held(app=self._load(version))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a version, the others go on
            self._failures[version] = _Failure(reason=str(error), files=files)
            self._loads.add(1, ((conventions.ERROR_TYPE, type(error).__name__),))
            logger.warning("model %r: version %s cannot be served: %s", self._home.name, version, error)
            return False
        self._failures.pop(version, None)
        self._loads.add(1)
        return True

    def _start(self, held: _Held) -> None:
        if not held.started:
            held.started = True
            held.app.start()

    def _serve(self, version: str) -> None:
        if version == self._serving:
            return
        self._serving, self._answering = version, self._held[version]
        self._answering.app.serve()
        logger.info("model %r: version %s serves", self._home.name, version)

    def _release(self, going: set[str]) -> None:
        for version in going:
            held = self._held.pop(version)
            if version == self._serving:
                self._serving = self._answering = None
            task = asyncio.get_running_loop().create_task(_drain(held))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> list[VersionStatus]:
        self._failures.clear()
        await self.look()
        wanted = self._wanted()[:1] if self._policy is None else self._policy
        failed = [f"version {v}: {self._failures[v].reason}" for v in wanted if v in self._failures]
        if failed:
            raise ArtifactError(f"model {self._home.name!r} cannot serve {'; '.join(failed)}")
        return self.index()

    async def _named(self, scope: Scope, send: Send) -> _Held | None:
        """The version that the path names; where there is none, the client is told and none is returned."""
        match = _VERSION.fullmatch(path_below(scope))
        version = match["version"] if match else self._serving
        held = self._held.get(version or "")
        if held is not None:
            return held
        problem = self._problem(version)
        if match and match["action"] == "/ready" and version in self._failures:
            body = {"name": self._home.name, "ready": False, "live": True, "error": str(problem)}
            await respond(send, problem.status, orjson.dumps(body))
        else:
            await respond(send, problem.status, error_body(str(problem)))
        return None

    def _problem(self, version: str | None) -> RequestError:
        name = self._home.name
        if version is None:
            return UnavailableError(f"model {name!r} is unloaded: load it to use it")
        if version in self._failures:
            return UnavailableError(f"version {version!r} of model {name!r} failed: {self._reason(version)}")
        ready = ", ".join(map(repr, self.ready())) or "none"
        return NotFoundError(f"model {name!r} has version {ready} ready, not {version!r}")

    def _reason(self, version: str) -> str:
        failure = self._failures.get(version)
        return failure.reason if failure else "it is not loaded"

    def _why(self) -> str:
        reasons = [f"version {version}: {failure.reason}" for version, failure in self._failures.items()]
        return "; ".join(reasons) or f"no version under {self._home.absolute()}"

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._loop = asyncio.get_running_loop()
        for held in self._held.values():
            self._start(held)
        self._emitter.start()
        watch = self._loop.create_task(self._watch())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        watch.cancel()
        async with self._lock:
            self._release(set(self._held))
            await asyncio.gather(*self._tasks)
        await asyncio.to_thread(self._emitter.shutdown)
        await send({"type": "lifespan.shutdown.complete"})

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                logger.exception("model %r: its directory cannot be looked at; trying again", self._home.name)
            await asyncio.sleep(LOOK_EVERY_S)


async def _drain(held: _Held) -> None:
    while held.ongoing:
        await asyncio.sleep(DRAIN_CHECK_S)
    await held.app.stop()


def _files(path: Path) -> tuple[Any, ...]:
    """Names, sizes and times of a version's files: what changes when somebody mends it."""
    found = sorted(entry for entry in path.rglob("*") if entry.is_file())
    return tuple((str(entry), entry.stat().st_size, entry.stat().st_mtime_ns) for entry in found)
