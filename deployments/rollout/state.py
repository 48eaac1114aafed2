"""A rollout, and what may become of it: pure functions from one state to the next.

    starting ─▶ shadow ─▶ canary 1 % ─▶ 10 % ─▶ 50 % ─▶ promoting ─▶ promoted
       └──────────┴──────────┴─────────┴────────┴───────────┴──▶ rolling_back ─▶ rolled_back, aborted

Each state is written down before anything is done for it, and all that is done for it may be done again: a controller
that dies anywhere goes on from there. Only a verdict of good leads on.
"""

import itertools
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from deployments.errors import ConflictError
from deployments.rollout.plan import SHADOW, RolloutSettings

Phase = Literal["starting", "shadow", "canary", "promoting", "promoted", "rolling_back", "rolled_back", "aborted"]
Kind = Literal["good", "bad", "inconclusive"]

TRIED: tuple[Phase, ...] = ("shadow", "canary")
"""The candidate gets requests."""
ENDED: tuple[Phase, ...] = ("promoted", "rolled_back", "aborted")
MOST_VERDICTS = 20
"""Of one step, the latest, that are kept: a step may wait for a person for weeks."""


class Decision(BaseModel):
    """What was decided, when and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_s: float
    phase: Phase
    """What it led to."""
    share: float
    """Of the requests, that the candidate answers from then on."""
    text: str
    """Why, in a sentence."""
    evidence: Any = None
    """What was seen, where the decision rests on it: the verdict as JSON."""


class Rollout(BaseModel):
    """One version on its way, with all that was decided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    model: str
    baseline: str
    """The version that serves."""
    candidate: str
    settings: RolloutSettings
    phase: Phase = "starting"
    step: int = 0
    """Which of `settings.steps` is tried, or was last."""
    since_s: float
    """When the phase or step began, in seconds since 1970."""
    sure_s: float
    """When it could last be said that the candidate is good, else when the step began."""
    last: Kind | None = None
    """The last verdict of this step."""
    said: str = ""
    """Why it is what it is."""
    ends_as: Literal["rolled_back", "aborted"] = "rolled_back"
    revision: int = 0
    """Grows with each change."""
    decisions: tuple[Decision, ...] = ()

    @property
    def share(self) -> float:
        """Of the requests, that the candidate answers."""
        return self.settings.steps[self.step] if self.phase in TRIED else 0.0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to be done for it."""
        return self.phase in ENDED

    @property
    def is_last_step(self) -> bool:
        """Whether there is no larger share to be tried."""
        return self.step == len(self.settings.steps) - 1


def begun(model: str, baseline: str, candidate: str, settings: RolloutSettings, *, at_s: float, why: str) -> Rollout:
    """A new rollout; its id tells when it began."""
    first = Decision(at_s=at_s, phase="starting", share=0.0, text=why)
    return Rollout(
        id=f"{model}-{candidate}-{at_s:.0f}",
        model=model,
        baseline=baseline,
        candidate=candidate,
        settings=settings,
        since_s=at_s,
        sure_s=at_s,
        decisions=(first,),
    )


def started(rollout: Rollout, *, at_s: float) -> Rollout:
    """The candidate's replicas answer: the first step begins."""
    if rollout.phase != "starting":
        return rollout
    return _at_step(rollout, 0, at_s, f"version {rollout.candidate} is loaded")


def judged(rollout: Rollout, kind: Kind, why: str, evidence: Any, *, at_s: float) -> Rollout:
    """A verdict on the step that is tried; none of another time changes anything."""
    if rollout.phase not in TRIED:
        return rollout
    if kind == "bad":
        return _rolling_back(rollout, at_s, f"version {rollout.candidate} is bad: {why}", evidence)
    if kind == "inconclusive":
        if at_s - rollout.sure_s >= rollout.settings.inconclusive_s:
            text = f"nothing could be said for {rollout.settings.inconclusive_s:g} s: {why}"
            return _rolling_back(rollout, at_s, text, evidence)
        return _noted(rollout, kind, at_s, f"it cannot be said whether it is good: {why}", evidence)
    if at_s - rollout.since_s < rollout.settings.step_s:
        return _noted(rollout, kind, at_s, f"good so far: {why}", evidence)
    if not rollout.is_last_step:
        return _at_step(rollout, rollout.step + 1, at_s, f"good: {why}", evidence)
    if rollout.settings.auto:
        return _to(rollout, "promoting", at_s, f"good in all steps: {why}", evidence)
    return _noted(rollout, kind, at_s, f"good in all steps, waits for `rollout promote`: {why}", evidence)


def approved(rollout: Rollout, *, at_s: float, why: str) -> Rollout:
    """A person promotes the candidate, which the last verdict must have called good.

    Raises:
        ConflictError: it did not, or there is nothing to promote.
    """
    if rollout.phase in ("promoting", "promoted"):
        return rollout
    if rollout.phase not in TRIED:
        raise ConflictError(f"{described(rollout)} cannot be promoted: it is {rollout.phase}")
    if rollout.last != "good":
        got = rollout.last or "none yet"
        raise ConflictError(f"the last verdict on {described(rollout)} must be good to promote it, got {got}")
    return _to(rollout, "promoting", at_s, why)


def stopped(rollout: Rollout, *, at_s: float, why: str) -> Rollout:
    """A person ends it: the baseline serves on.

    Raises:
        ConflictError: it is over, or the candidate is taking its place already.
    """
    if rollout.has_ended or rollout.phase == "promoting":
        raise ConflictError(f"{described(rollout)} cannot be aborted: it is {rollout.phase}")
    if rollout.phase == "rolling_back":
        return rollout
    return _rolling_back(rollout.model_copy(update={"ends_as": "aborted"}), at_s, why)


def failed(rollout: Rollout, *, at_s: float, why: str) -> Rollout:
    """The candidate cannot go on, whatever its answers were."""
    return rollout if rollout.has_ended or rollout.phase == "rolling_back" else _rolling_back(rollout, at_s, why)


def resumed(rollout: Rollout, *, at_s: float) -> Rollout:
    """Another controller goes on with it, which has seen nothing yet: what was last said of the candidate is void."""
    return rollout.model_copy(update={"sure_s": at_s, "last": None, "said": "", "revision": rollout.revision + 1})


def finished(rollout: Rollout, *, at_s: float) -> Rollout:
    """What `promoting` or `rolling_back` has to do is done."""
    match rollout.phase:
        case "promoting":
            return _to(rollout, "promoted", at_s, f"version {rollout.candidate} serves")
        case "rolling_back":
            return _to(rollout, rollout.ends_as, at_s, f"version {rollout.baseline} serves alone")
        case _:
            return rollout


def tried_since_s(rollout: Rollout) -> float:
    """When the candidate first got requests."""
    return next((each.at_s for each in rollout.decisions if each.phase in TRIED), rollout.since_s)


def described(rollout: Rollout) -> str:
    """The rollout in words."""
    return f"the rollout of model {rollout.model!r} to version {rollout.candidate!r}"


def _at_step(rollout: Rollout, step: int, at_s: float, text: str, evidence: Any = None) -> Rollout:
    share = rollout.settings.steps[step]
    return _to(rollout, "shadow" if share == SHADOW else "canary", at_s, text, evidence, step=step, share=share)


def _rolling_back(rollout: Rollout, at_s: float, text: str, evidence: Any = None) -> Rollout:
    return _to(rollout, "rolling_back", at_s, text, evidence)


def _to(
    rollout: Rollout,
    phase: Phase,
    at_s: float,
    text: str,
    evidence: Any = None,
    *,
    step: int | None = None,
    share: float = 0.0,
) -> Rollout:
    decision = Decision(at_s=at_s, phase=phase, share=share, text=text, evidence=evidence)
    changes = {
        "phase": phase,
        "step": rollout.step if step is None else step,
        "since_s": at_s,
        "sure_s": at_s,
        "last": None,
        "said": "",
        "revision": rollout.revision + 1,
        "decisions": (*rollout.decisions, decision),
    }
    return rollout.model_copy(update=changes)


def _noted(rollout: Rollout, kind: Kind, at_s: float, text: str, evidence: Any) -> Rollout:
    """The step goes on; a verdict unlike the one before is told of, but that a step begins with nothing known."""
    changes: dict[str, Any] = {"last": kind, "said": text, "revision": rollout.revision + 1}
    if kind == "good":
        changes["sure_s"] = at_s
    if kind != (rollout.last or "inconclusive"):
        decision = Decision(at_s=at_s, phase=rollout.phase, share=rollout.share, text=text, evidence=evidence)
        changes["decisions"] = _kept((*rollout.decisions, decision))
    return rollout.model_copy(update=changes)


def _kept(decisions: tuple[Decision, ...]) -> tuple[Decision, ...]:
    """All but the oldest verdicts of the last step, where they are too many."""
    of_step = itertools.takewhile(
        lambda each: (each.phase, each.share) == (decisions[-1].phase, decisions[-1].share), reversed(decisions)
    )
    num_verdicts = sum(1 for _ in of_step) - 1  # the first is why the step began
    if num_verdicts <= MOST_VERDICTS:
        return decisions
    return (*decisions[:-num_verdicts], *decisions[-MOST_VERDICTS:])
