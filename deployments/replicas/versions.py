"""The versions of one model that a replica holds, and which of them answers.

    source -> policy -> fetch, verify, load, warm up -> prepared -> agreed on by all replicas -> serves
                                |                                                                  |
                              failed: tried again after a while         replaced: answers what has begun, then goes

A swap is one assignment in the event loop, so a request is answered by one version from its start to its end. What
serves is let go of only once another version serves or somebody orders it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic

from deployments.replicas.agreement import Agreement, Policy, Report
from deployments.replicas.failures import LONGEST_PAUSE_S, Failures
from deployments.replicas.held import Held, S
from deployments.replicas.source import Source, SourceError
from deployments.replicas.status import VersionStatus
from deployments.replicas.trial import NoTrial, Trial
from optimization.artifact.store import ArtifactError
from telemetry import conventions
from telemetry.emitting.emitter import Emitter

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
AGREE_EVERY_S = 0.5
"""Longest that replicas which have prepared a version answer by different ones."""
REPORTED = 20
"""Newest versions that a replica tells the others it wants."""


_NO_TRIAL = NoTrial()


class Versions(Generic[S]):
    """Which versions are held and which of them answers where a request names none.

    `load` makes a version ready, given its directory, and takes as long as that takes; it runs in a thread beside the
    requests. All else happens in the event loop that `start` was called in.
    """

    def __init__(
        self,
        source: Source,
        load: Callable[[Path], S],
        *,
        policy: Policy,
        keep: int,
        emitter: Emitter,
        agreement: Agreement,
        trial: Trial = _NO_TRIAL,
    ) -> None:
        """Load the version that the other replicas answer by, or the newest that is sound where there are none.

        `trial` stands around each loading, lest a version end this process and with it what serves.
        An order goes before `policy`; an empty one unloads the model.

        Raises:
            ArtifactError: it cannot be loaded, or none can; the message says why.
        """
        self.name = source.name
        self.answering: Held[S] | None = None
        """The version for requests that name none; none while the model is unloaded."""
        self._source = source
        self._load = load
        self._configured = policy
        self._agreement = agreement
        self._trial = trial
        self._policy = self._now_wanted()
        self._keep = keep
        self._loads = emitter.counter(conventions.VERSION_LOADS)
        self._held: dict[str, Held[S]] = {}
        self._failures = Failures()
        self._known: set[str] = set()
        self._wanted: list[str] = []
        self._serving: str | None = None
        self._agreed: str | None = None
        self._trouble = ""
        self._looking = asyncio.Lock()
        self._agreeing = asyncio.Lock()
        self._swapped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._draining: set[asyncio.Task[None]] = set()
        self._begin()

    @property
    def ongoing(self) -> int:
        """Requests that have begun and not ended, of all versions."""
        return sum(held.ongoing for held in list(self._held.values()))  # may be called from any thread

    def ready(self) -> list[str]:
        """Versions that answer, oldest first."""
        return sorted(self._held, key=int)

    def held(self) -> list[S]:
        """The versions that answer."""
        return [held.app for held in self._held.values()]

    def find(self, version: str | None) -> Held[S] | None:
        """That version, or the one that answers where none is named."""
        return self.answering if version is None else self._held.get(version)

    def failure(self, version: str) -> str | None:
        """Why that version failed and when it is tried again, if it did."""
        return self._failures.status(version)

    def behind(self) -> str | None:
        """Why this replica cannot answer by the version that the others do, if so."""
        agreed = self._agreed
        if agreed is None or agreed in self._held or self._policy == ():
            return None
        return f"the replicas of model {self.name!r} answer by version {agreed!r}: {self._reason(agreed)}"

    def stuck(self) -> str | None:
        """The same where that version has failed here, and is not just being prepared."""
        return self.behind() if self._agreed in self._failures else None

    def start(self) -> None:
        """Let what is held take requests; look for new versions, and for what the others do, from now on."""
        self._loop = asyncio.get_running_loop()
        for held in self._held.values():
            held.start()
        self._tasks = [self._loop.create_task(self._keep_looking()), self._loop.create_task(self._keep_agreeing())]

    async def stop(self) -> None:
        """Let go of all versions once they have answered what they have begun."""
        for task in self._tasks:
            task.cancel()
        async with self._looking, self._agreeing:
            self._release(set(self._held))
            await asyncio.gather(*self._draining)
            await asyncio.to_thread(self._agreement.leave)

    def index(self) -> list[VersionStatus]:
        """Every version that is published or wanted, oldest first."""
        return [
            VersionStatus(version=version, state="READY", reason=self._trouble)
            if version in self._held
            else VersionStatus(version=version, state="UNAVAILABLE", reason=self._reason(version))
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
        """Load what is wanted and new, follow what is agreed, let go of the rest.

        Raises:
            SourceError: the source does not say what there is.
        """
        async with self._looking:
            self._policy = await asyncio.to_thread(self._now_wanted)
            self._wanted = await asyncio.to_thread(self._list)
            if self._agreed and self._policy != ():
                await self._prepare(self._agreed)
            sound: set[str] = set()
            for version in self._wanted:
                if len(sound) == self._most():
                    break
                if await self._prepare(version):
                    sound.add(version)
            self._failures.keep({*self._wanted, self._agreed})
            if self._policy == ():
                self._release(set(self._held))
            elif sound:
                self._release(set(self._held) - sound - {self._serving})
            await self._agree()

    def _begin(self) -> None:
        if self._policy == ():
            self._agreement.report(self._report())
            return
        followed = self._agreement.followed()
        try:
            self._wanted = self._list()
        except SourceError:
            if followed is None:
                raise
            self._wanted = [followed]  # this node may have a copy
        for version in [followed] if followed else self._wanted:
            if held := self._attempt(version):
                self._held[version] = held
                self._agreed = version
                self._serve(version)
                self._agreement.begin(version, self._report())
                return
        raise ArtifactError(f"model {self.name!r} has no version that can be served: {self._why()}")

    def _report(self) -> Report:
        wanted = [version for at, version in enumerate(self._wanted) if at < REPORTED or version == self._agreed]
        held, failed = sorted(self._held), sorted(self._failures.all())
        return Report(wanted=tuple(wanted), prepared=tuple(held), failed=tuple(failed), behind=self.behind())

    def _now_wanted(self) -> Policy:
        order = self._agreement.order()
        return self._configured if order is None else order

    def _most(self) -> int:
        return self._keep if self._policy is None else len(self._wanted)

    def _list(self) -> list[str]:
        """Versions the policy asks for, newest first; more than are kept, lest some fail."""
        published = self._source.versions()[::-1]
        self._known = {*published, *(self._policy or ())}
        return published if self._policy is None else sorted(self._policy, key=int, reverse=True)

    async def _prepare(self, version: str) -> bool:
        """Whether the version is held; loaded now where it is not, unless it failed a short while ago."""
        if version in self._held:
            return True
        held = await asyncio.to_thread(self._attempt, version)
        if held is None:
            return False
        self._held[version] = held
        held.start()
        await self._agree()
        return True

    def _attempt(self, version: str) -> Held[S] | None:
        """Load the version, unless it failed a short while ago."""
        files = self._source.files(version)
        if not self._failures.due(version, files):
            return None
        copy = None
        try:
            copy = self._source.fetch(version)
            with self._trial.around(copy.path, beside=bool(self._held)):
                held = Held(app=self._load(copy.path), copy=copy)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a version, the others go on
            if copy:
                copy.release()
            self._loads.add(1, ((conventions.ERROR_TYPE, type(error).__name__),))
            if self._failures.add(version, str(error), files):
                logger.warning("model %r: version %s cannot be served: %s", self.name, version, error)
            return None
        self._failures.forget(version)
        self._loads.add(1)
        return held

    async def _agree(self) -> None:
        """Tell the other replicas what this one has, and answer by what all have."""
        async with self._agreeing:
            self._agreed = await asyncio.to_thread(self._agreement.settle, self._wanted, self._report())
            if self._agreed in self._held and self._policy != ():
                self._serve(self._agreed)

    def _serve(self, version: str) -> None:
        if version == self._serving:
            return
        self._serving, self.answering = version, self._held[version]
        self.answering.app.serve()
        self._swapped.set()
        logger.info("model %r: version %s serves", self.name, version)

    def _release(self, going: set[str]) -> None:
        for version in going:
            held = self._held.pop(version)
            if version == self._serving:
                self._serving = self.answering = None
            task = asyncio.get_running_loop().create_task(held.end())
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    async def _reload(self) -> list[VersionStatus]:
        self._failures.end_pauses()
        await self.look()
        wanted = self._wanted[:1] if self._policy is None else self._policy
        failed = [f"version {v}: {self._failures.reason(v)}" for v in wanted if v in self._failures]
        if failed:
            raise ArtifactError(f"model {self.name!r} cannot serve {'; '.join(failed)}")
        return self.index()

    def _reason(self, version: str) -> str:
        return self._failures.status(version) or "it is not loaded"

    def _why(self) -> str:
        reasons = [f"version {version}: {reason}" for version, reason in self._failures.all().items()]
        return "; ".join(reasons) or f"no version under {self._source.where}"

    async def _keep_looking(self) -> None:
        pause_s = LOOK_EVERY_S
        while True:
            self._swapped.clear()
            try:
                await self.look()
                pause_s, self._trouble = LOOK_EVERY_S, ""
            except SourceError as error:
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                if not self._trouble:
                    logger.warning("model %r: new versions are not seen: %s", self.name, error)
                self._trouble = f"new versions are not seen: {error}; asked again every {pause_s:.0f} s"
            except Exception:
                logger.exception("model %r: its versions cannot be looked at; trying again", self.name)
            # What was replaced is let go of at once. (`wait_for` can lose a cancellation: bpo-37658.)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._swapped.wait()

    async def _keep_agreeing(self) -> None:
        while True:
            try:
                await self._agree()
            except Exception:
                logger.exception("model %r: what the other replicas do cannot be read; trying again", self.name)
            await asyncio.sleep(AGREE_EVERY_S)
