"""The versions of one model that a replica holds, and which of them answers.

    artifacts/<name>/ -> policy -> load, verify, warm up -> ready -> the newest of them serves
                                        |                              |
                                      failed, with its reason        replaced: answers what has begun, then goes

A swap is one assignment in the event loop, so a request is answered by one version from its start to its end. What
serves is let go of only once another version serves or somebody orders it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from starlette.types import Receive, Scope, Send

from optimization.artifact.store import ArtifactError, versions
from telemetry import conventions
from telemetry.emitting.emitter import Emitter

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
DRAIN_CHECK_S = 0.02

Policy = tuple[str, ...] | None
"""The versions to hold, or none for the newest ones, whatever comes."""


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
class Held:
    """A version that is loaded."""

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
    """Which versions are held and which of them answers where a request names none.

    `load` makes a version ready and takes as long as that takes; it runs in a thread beside the requests. All else
    happens in the event loop that `start` was called in.
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
        self.name = home.name
        self.answering: Held | None = None
        """The version for requests that name none; none while the model is unloaded."""
        self._home = home
        self._load = load
        self._configured = policy
        self._ordered = ordered
        self._policy = self._now_wanted()
        self._keep = keep
        self._loads = emitter.counter(conventions.VERSION_LOADS)
        self._held: dict[str, Held] = {}
        self._failures: dict[str, _Failure] = {}
        self._known: set[str] = set()
        self._serving: str | None = None
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watching: asyncio.Task[None] | None = None
        self._draining: set[asyncio.Task[None]] = set()
        for version in self._wanted():
            if held := self._attempt(version):
                self._held[version] = held
                self._serve(version)
                return
        if self._policy == ():
            return
        raise ArtifactError(f"model {home.name!r} has no version that can be served: {self._why()}")

    @property
    def ongoing(self) -> int:
        """Requests that have begun and not ended, of all versions."""
        return sum(held.ongoing for held in list(self._held.values()))  # may be called from any thread

    def ready(self) -> list[str]:
        """Versions that answer, oldest first."""
        return sorted(self._held, key=int)

    def held(self) -> list[Served]:
        """The versions that answer."""
        return [held.app for held in self._held.values()]

    def find(self, version: str | None) -> Held | None:
        """That version, or the one that answers where none is named."""
        return self.answering if version is None else self._held.get(version)

    def failure(self, version: str) -> str | None:
        """Why that version failed, if it did."""
        failure = self._failures.get(version)
        return failure.reason if failure else None

    def start(self) -> None:
        """Let what is held take requests, and look for new versions from now on."""
        self._loop = asyncio.get_running_loop()
        for held in self._held.values():
            _start(held)
        self._watching = self._loop.create_task(self._watch())

    async def stop(self) -> None:
        """Let go of all versions once they have answered what they have begun."""
        if self._watching:
            self._watching.cancel()
        async with self._lock:
            self._release(set(self._held))
            await asyncio.gather(*self._draining)

    def index(self) -> list[VersionStatus]:
        """Every version that is published or wanted, oldest first."""
        return [
            VersionStatus(version=version, state="READY")
            if version in self._held
            else VersionStatus(version=version, state="UNAVAILABLE", reason=self.failure(version) or "it is not loaded")
            for version in sorted({*self._known, *self._held}, key=int)
        ]

    async def reload(self) -> list[VersionStatus]:
        """Look now, and try again what failed before; may be called from any event loop.

        Raises:
            ArtifactError: a version that is wanted cannot be loaded; those that can are held.
        """
        assert self._loop is not None, "it has not started"
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
                held = self._held.get(version) or await asyncio.to_thread(self._attempt, version)
                if held:
                    self._held[version] = held
                    _start(held)
                    sound.append(version)
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

    def _attempt(self, version: str) -> Held | None:
        """Load the version, unless it failed before and its files are the same."""
        files = _files(self._home / version)
        failure = self._failures.get(version)
        if failure is not None and failure.files == files:
            return None
        try:
            held = Held(app=self._load(version))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a version, the others go on
            self._failures[version] = _Failure(reason=str(error), files=files)
            self._loads.add(1, ((conventions.ERROR_TYPE, type(error).__name__),))
            logger.warning("model %r: version %s cannot be served: %s", self.name, version, error)
            return None
        self._failures.pop(version, None)
        self._loads.add(1)
        return held

    def _serve(self, version: str) -> None:
        if version == self._serving:
            return
        self._serving, self.answering = version, self._held[version]
        self.answering.app.serve()
        logger.info("model %r: version %s serves", self.name, version)

    def _release(self, going: set[str]) -> None:
        for version in going:
            held = self._held.pop(version)
            if version == self._serving:
                self._serving = self.answering = None
            task = asyncio.get_running_loop().create_task(_drain(held))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    async def _reload(self) -> list[VersionStatus]:
        self._failures.clear()
        await self.look()
        wanted = self._wanted()[:1] if self._policy is None else self._policy
        failed = [f"version {v}: {self._failures[v].reason}" for v in wanted if v in self._failures]
        if failed:
            raise ArtifactError(f"model {self.name!r} cannot serve {'; '.join(failed)}")
        return self.index()

    def _why(self) -> str:
        reasons = [f"version {version}: {failure.reason}" for version, failure in self._failures.items()]
        return "; ".join(reasons) or f"no version under {self._home.absolute()}"

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                logger.exception("model %r: its directory cannot be looked at; trying again", self.name)
            await asyncio.sleep(LOOK_EVERY_S)


def _start(held: Held) -> None:
    if not held.started:
        held.started = True
        held.app.start()


async def _drain(held: Held) -> None:
    while held.ongoing:
        await asyncio.sleep(DRAIN_CHECK_S)
    await held.app.stop()


def _files(path: Path) -> tuple[Any, ...]:
    """Names, sizes and times of a version's files: what changes when somebody mends it."""
    found = sorted(entry for entry in path.rglob("*") if entry.is_file())
    return tuple((str(entry), entry.stat().st_size, entry.stat().st_mtime_ns) for entry in found)
