"""Takes rollouts from state to state: one in a cluster, in the application `server`.

    orders, versions that are published ─▶ state: on disk, then told ─▶ done ─▶ evidence ─▶ verdict ─┐
                                             ▲───────────────────────────────────────────────────────┘

All that a state asks for may be done again, and again by another controller: one that starts goes on from what is on
the disk, or in the store where that is newer.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from deployments.errors import ConflictError, NotFoundError, RequestError, SettingsError, UnavailableError
from deployments.rollout import state
from deployments.rollout.analysis.judge import judge
from deployments.rollout.analysis.settings import AnalysisSettings
from deployments.rollout.analysis.verdict import Finding, Verdict
from deployments.rollout.candidate import application_of
from deployments.rollout.cluster import Cluster, Standing
from deployments.rollout.evidence import Window, coarsened
from deployments.rollout.gathering import gathered
from deployments.rollout.history import History
from deployments.rollout.plan import RolloutSettings, changed
from deployments.rollout.shared import Shared
from deployments.rollout.split import Split
from deployments.rollout.state import Decision, Rollout
from optimization.artifact.store import ArtifactError

logger = logging.getLogger(__name__)

TICK_S = 0.5
LOOK_EVERY_S = 3.0
"""How soon a version is seen that was published."""
OBJECTIVE = "objective:"
"""How the signal begins of an alert that a budget is spent too fast."""


Tell = Callable[[Rollout, Decision], None]


class Judge(Protocol):
    """As `deployments.rollout.analysis.judge`."""

    def __call__(self, windows: Sequence[Window], settings: AnalysisSettings, *, since_s: float) -> Verdict:
        """What the windows of a rollout say of its step that began at `since_s`."""


class Controller:
    """Belongs to one event loop."""

    def __init__(
        self,
        folder: Path,
        shared: Shared,
        cluster: Cluster,
        tell: Tell,
        *,
        judge: Judge = judge,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`folder` holds the history; `tell` is told of each decision."""
        self._folder = folder
        self._shared = shared
        self._cluster = cluster
        self._tell = tell
        self._judge = judge
        self._clock = clock
        self._history: History | None = None
        self._deployed: set[str] = set()
        self._windows: dict[str, dict[float, Window]] = {}
        self._judged_s: dict[str, float] = {}
        self._looked_s = float("-inf")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._troubles: dict[str, str] = {}
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Go on with what was begun, from now on."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Leave all as it is: the next controller goes on."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._history is not None:
            self._history.close()

    def rollouts(self, model: str | None = None) -> list[Rollout]:
        """All that are remembered, or those of a model; the latest first."""
        kept = self._kept().rollouts.values()
        return [each for each in reversed(kept) if model in (None, each.model)]

    def latest(self, model: str) -> Rollout:
        """The model's last rollout.

        Raises:
            NotFoundError: there was none.
        """
        found = self._kept().latest(model)
        if found is None:
            raise NotFoundError(f"model {model!r} was never rolled out")
        return found

    async def begin(self, model: str, version: str, given: Mapping[str, Any], *, why: str) -> Rollout:
        """Roll `version` out, by the model's own `RolloutSettings` but for those that are given.

        Raises:
            RequestError: there is no such model or version, it answers already, or another is being rolled out.
        """
        async with self._lock(model):
            active = self._kept().latest(model)
            if active is not None and not active.has_ended:
                raise ConflictError(f"{state.described(active)} is under way: abort it, or wait for its end")
            published = await self._cluster.published(model)
            if version not in published:
                raise NotFoundError(f"model {model!r} has version {', '.join(published) or 'none'}, not {version!r}")
            serving = await self._cluster.deployed(model)
            if serving.answering is None:
                raise UnavailableError(f"model {model!r} is unloaded: load it to roll a version out")
            if serving.answering == version:
                raise ConflictError(f"version {version!r} of model {model!r} answers already")
            chosen = changed(serving.settings.rollout or RolloutSettings(), given)
            if chosen.analysis.slos is None:
                promised = tuple(await self._cluster.objectives(model))
                analysis = chosen.analysis.model_copy(update={"slos": promised})
                chosen = chosen.model_copy(update={"analysis": analysis})
            begun = state.begun(model, serving.answering, version, chosen, at_s=self._clock(), why=why)
            await self._keep(None, begun)
            return begun

    async def promote(self, model: str, *, why: str) -> Rollout:
        """Let the candidate take over, which the last verdict called good.

        Raises:
            RequestError: it did not, or there is none.
        """
        return await self._order(model, lambda rollout: state.approved(rollout, at_s=self._clock(), why=why))

    async def abort(self, model: str, *, why: str) -> Rollout:
        """Let the candidate go.

        Raises:
            RequestError: there is none, or it is over.
        """
        return await self._order(model, lambda rollout: state.stopped(rollout, at_s=self._clock(), why=why))

    async def _order(self, model: str, change: Callable[[Rollout], Rollout]) -> Rollout:
        async with self._lock(model):
            before = self.latest(model)
            after = change(before)
            await self._keep(before, after)
            return after

    async def _run(self) -> None:
        while self._history is None:
            try:
                await self.restore()
            except BlockingIOError:
                await asyncio.sleep(TICK_S)  # the controller before this one is about to end
            except Exception:
                logger.exception("rollouts cannot be read from %s; trying again", self._folder)
                await asyncio.sleep(LOOK_EVERY_S)
        while True:
            try:
                await self.tick()
            except Exception as error:  # noqa: BLE001 - logged; the next round may do better
                self._log("what is rolled out", error)
            else:
                self._troubles.pop("what is rolled out", None)
            await asyncio.sleep(TICK_S)

    async def restore(self) -> None:
        """Read what was begun, and let replicas know.

        Raises:
            BlockingIOError: another controller has not ended yet.
        """
        history = await asyncio.to_thread(History, self._folder)
        try:
            await self._agree(history)
        except BaseException:
            history.close()
            raise
        self._history = history
        await asyncio.to_thread(self._shared.ready)

    async def _agree(self, history: History) -> None:
        """Let disk and store say the same, of each rollout what is newer."""
        for told in await asyncio.to_thread(self._shared.rollouts):
            known = history.rollouts.get(told.id)
            if known is None or known.revision < told.revision:  # the disk is another host's
                await asyncio.to_thread(history.keep, told)
        for model, version in (await asyncio.to_thread(self._shared.pins)).items():
            await asyncio.to_thread(history.pin, model, version)
        for model, version in history.pins.items():
            await asyncio.to_thread(self._shared.pin_first, model, version)
        for rollout in history.active():
            resumed = state.resumed(rollout, at_s=self._clock())
            await asyncio.to_thread(history.keep, resumed)
            await asyncio.to_thread(self._shared.keep, resumed)

    async def tick(self) -> None:
        """Take each rollout a step on, and begin those of versions that were published."""
        active = self._kept().active()
        await asyncio.gather(*(self._step(each.model) for each in active))
        if self._clock() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock()
            await self._look()

    async def _step(self, model: str) -> None:
        async with self._lock(model):
            before = self.latest(model)
            doings: dict[state.Phase, Callable[[Rollout], Awaitable[Rollout]]] = {
                "starting": self._start,
                "shadow": self._try,
                "canary": self._try,
                "promoting": self._promote,
                "rolling_back": self._roll_back,
            }
            if before.phase not in doings:
                return
            try:
                after = await doings[before.phase](before)
            except Exception as error:  # noqa: BLE001 - whatever one rollout meets, the others go on
                self._log(state.described(before), error)
                return
            self._troubles.pop(state.described(before), None)
            await self._keep(before, after)

    async def _start(self, rollout: Rollout) -> Rollout:
        late = self._clock() - rollout.since_s > rollout.settings.start_s
        try:
            if rollout.id not in self._deployed:
                await self._cluster.deploy(rollout)
                self._deployed.add(rollout.id)
            standing = await self._cluster.standing(rollout.model)
        except (ArtifactError, SettingsError) as error:
            return state.failed(rollout, at_s=self._clock(), why=str(error))
        except UnavailableError as error:
            standing = Standing(state="starting", message=str(error))
        match standing.state:
            case "failed":
                why = f"version {rollout.candidate} cannot be loaded: {standing.message}"
                return state.failed(rollout, at_s=self._clock(), why=why)
            case "runs" if any(each.startswith("candidate:") for each in await self._evidence(rollout)):
                return state.started(rollout, at_s=self._clock())
            case _ if late:
                why = f"version {rollout.candidate} must be loaded within {rollout.settings.start_s:g} s"
                return state.failed(rollout, at_s=self._clock(), why=f"{why}: {standing.message or standing.state}")
            case _:
                return rollout

    async def _try(self, rollout: Rollout) -> Rollout:
        await self._share(rollout)
        standing = await self._cluster.standing(rollout.model)
        if standing.state in ("missing", "failed"):
            why = f"its replicas failed: {standing.message or standing.state}"
            return state.failed(rollout, at_s=self._clock(), why=why)
        windows = self._windows.setdefault(rollout.id, {})
        told = await self._evidence(rollout)
        windows |= gathered(told, since_s=state.tried_since_s(rollout), now_s=self._clock())
        if self._clock() - self._judged_s.get(rollout.id, float("-inf")) < rollout.settings.window_s:
            return rollout
        self._judged_s[rollout.id] = self._clock()
        seen = coarsened([windows[start_s] for start_s in sorted(windows)])
        self._windows[rollout.id] = {window.start_s: window for window in seen}
        verdict = await asyncio.to_thread(self._verdict, seen, rollout)
        if verdict.kind == "good" and (finding := await self._watched(rollout)):
            verdict = Verdict(kind="inconclusive", findings=(finding, *verdict.findings))
        return state.judged(rollout, verdict.kind, verdict.text, _as_json(verdict), at_s=self._clock())

    def _verdict(self, windows: Sequence[Window], rollout: Rollout) -> Verdict:
        """What the analysis says; one that fails says nothing for the candidate."""
        try:
            return self._judge(windows, rollout.settings.analysis, since_s=rollout.since_s)
        except Exception as error:
            logger.exception("the analysis failed")
            text = f"the analysis failed: {type(error).__name__}: {error}"
            return Verdict(
                kind="inconclusive", findings=(Finding(signal="completeness", kind="inconclusive", text=text),)
            )

    async def _watched(self, rollout: Rollout) -> Finding | None:
        """What speaks against calling the candidate good beside the analysis: what the collector finds unusual of it
        and not of the baseline, an objective whose alert fired since it got requests, or a collector that does not say.
        """
        try:
            watched = await self._cluster.watched(rollout.model)
        except UnavailableError as error:
            return Finding(signal="watched", kind="inconclusive", text=str(error))
        of_both = watched.unusual.get(rollout.baseline, ())
        told = [each for each in watched.unusual.get(rollout.candidate, ()) if each not in of_both]
        since_s = state.tried_since_s(rollout)
        told += [each.text for each in watched.alerts if each.signal.startswith(OBJECTIVE) and each.fired_s >= since_s]
        if not told:
            return None
        return Finding(signal="watched", kind="inconclusive", text=f"the collector finds: {'; '.join(told)}")

    async def _promote(self, rollout: Rollout) -> Rollout:
        try:
            await self._cluster.load(rollout.model, (rollout.candidate,))
        except ArtifactError as error:
            return state.failed(rollout, at_s=self._clock(), why=str(error))
        except UnavailableError as error:
            late = self._clock() - rollout.since_s > rollout.settings.start_s
            return state.failed(rollout, at_s=self._clock(), why=str(error)) if late else rollout
        await self._pin(rollout.model, rollout.candidate)
        return await self._end(rollout)

    async def _roll_back(self, rollout: Rollout) -> Rollout:
        await asyncio.to_thread(self._shared.share, rollout.model, None)
        if await self._cluster.ordered(rollout.model) == (rollout.candidate,):
            await self._cluster.order(rollout.model, (rollout.baseline,))
        await self._pin(rollout.model, rollout.baseline)
        return await self._end(rollout)

    async def _end(self, rollout: Rollout) -> Rollout:
        """Let go of the candidate's replicas: first nobody asks them any more."""
        await asyncio.to_thread(self._shared.share, rollout.model, None)
        if not await self._cluster.remove(rollout.model):
            return rollout
        await asyncio.to_thread(self._shared.forget_evidence, rollout.id)
        self._windows.pop(rollout.id, None)
        self._judged_s.pop(rollout.id, None)
        self._deployed.discard(rollout.id)
        return state.finished(rollout, at_s=self._clock())

    async def _pin(self, model: str, version: str) -> None:
        """Let the model's replicas begin with that version too, where it is rollouts that decide."""
        pinned = self._kept().pins.get(model)
        if pinned is not None and pinned != version:
            await asyncio.to_thread(self._kept().pin, model, version)
            await asyncio.to_thread(self._shared.pin, model, version)

    async def _share(self, rollout: Rollout) -> None:
        settings = rollout.settings
        split = Split(
            rollout=rollout.id,
            candidate=application_of(rollout.model),
            share=rollout.share,
            timeout_s=settings.timeout_s,
            window_s=settings.window_s,
            copies_per_s=settings.copies_per_s,
        )
        if await asyncio.to_thread(self._shared.split, rollout.model) != split:
            await asyncio.to_thread(self._shared.share, rollout.model, split)

    async def _evidence(self, rollout: Rollout) -> dict[str, tuple[Window, ...]]:
        return dict(await asyncio.to_thread(self._shared.evidence, rollout.id))

    async def _look(self) -> None:
        """Begin the rollout of a version that was published, where a model's settings ask for it."""
        for model, pinned in (await asyncio.to_thread(self._shared.pins)).items():
            if self._kept().pins.get(model) is None:
                await asyncio.to_thread(self._kept().pin, model, pinned)
            mine = self.rollouts(model)
            if mine and not mine[0].has_ended:
                continue
            try:
                published = await self._cluster.published(model)
                tried = {each.candidate for each in mine}
                newer = [each for each in published if int(each) > int(pinned) and each not in tried]
                if newer and (await self._cluster.deployed(model)).settings.rollout is not None:
                    newest = max(newer, key=int)
                    await self.begin(model, newest, {}, why=f"version {newest} was published")
            except RequestError as error:
                logger.info("model %r: what is published is not seen: %s", model, error)

    async def _keep(self, before: Rollout | None, after: Rollout) -> None:
        """Write a state down and tell of it, before anything is done for it."""
        known = before.decisions if before else ()
        decisions = [each for each in after.decisions if each not in known]
        if before is not None and not decisions:
            self._kept().rollouts[after.id] = after  # only the time of the last verdict
            return
        await asyncio.to_thread(self._kept().keep, after)
        await asyncio.to_thread(self._shared.keep, after)
        for decision in decisions:
            logger.info("%s: %s: %s", state.described(after), decision.phase, decision.text)
            self._tell(after, decision)

    def _log(self, what: str, error: Exception) -> None:
        """Log an error, but no more of it until it is another one: what a rollout waits for may be gone for hours."""
        told = f"{type(error).__name__}: {error}"
        if self._troubles.get(what) != told:
            self._troubles[what] = told
            logger.error("%s cannot be gone on with; trying again: %s", what, told, exc_info=error)

    def _kept(self) -> History:
        if self._history is None:
            raise UnavailableError(f"rollouts are not read from {self._folder} yet: try again")
        return self._history

    def _lock(self, model: str) -> asyncio.Lock:
        return self._locks.setdefault(model, asyncio.Lock())


def _as_json(verdict: Verdict) -> Any:
    """The verdict as JSON has it."""
    return json.loads(json.dumps(asdict(verdict), default=str))
