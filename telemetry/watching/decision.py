"""Decides from verdicts: a state machine for each watched signal.

ok -> pending -> firing -> resolved -> ok            k of the last n verdicts raise, a calm time resolves;
       |-> ok               |-> firing               what comes back within the refractory time is the same alert

An alert is resolved by verdicts that say the signal is back, for a time without a gap. No verdict at all says nothing:
a process that dies in an incident does not end it.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

TOLERANCE = 5
"""Of so many verdicts one need not be calm: a single bad second is not the incident."""


class State(StrEnum):
    """Where an alert stands."""

    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How much it takes."""

    num_needed: int = 4
    """Unusual verdicts among the last `num_considered` that raise an alert."""
    num_considered: int = 5
    num_calm: int = 5
    """Calm verdicts that resolve it, if they last `calm_s` as well."""
    calm_s: float = 60.0
    evidence: float = 0.0
    """What must speak for the calm besides, such as so many requests."""
    max_gap_s: float = 60.0
    """Seconds between two verdicts after which the calm begins anew; twice their distance where that is longer."""
    refractory_s: float = 60.0
    """For how long after that the same alert is taken up again instead of a new one."""


class Machine:
    """The states of one watched signal. Times are those of `Frame.steady_s`."""

    def __init__(self, decision: Decision) -> None:
        self.state = State.OK
        self.since_s = 0.0
        """When the first unusual verdict of this episode came."""
        self._decision = decision
        self._recent: deque[bool] = deque(maxlen=decision.num_considered)
        self._not_calm: deque[bool] = deque(maxlen=TOLERANCE)
        self._num_calm = 0
        self._evidence = 0.0
        self._calm_since_s = 0.0
        self._seen_s = 0.0
        self._interval_s = 0.0
        self._resolved_s = float("-inf")

    def step(self, unusual: bool, calm: bool, now_s: float, evidence: float = 0.0, *, stands_for: int = 1) -> State:
        """Take one verdict and return the state it leads to; what is not unusual need not be calm yet."""
        self._recent.extend([unusual] * stands_for)
        self._follow(calm and not unusual, now_s, evidence)
        if self.state is State.FIRING:
            lasts_s = now_s - self._calm_since_s
            is_proven = self._num_calm >= self._decision.num_calm and self._evidence >= self._decision.evidence
            if not unusual and is_proven and lasts_s >= self._decision.calm_s:
                self.resolve(now_s)
            return self.state
        if not any(self._recent):
            self.state = self._at_rest(now_s)
            return self.state
        if self.state is not State.PENDING:
            self.since_s = now_s
        raised = sum(self._recent) >= self._decision.num_needed
        self.state = State.FIRING if raised else State.PENDING
        return self.state

    def resolve(self, now_s: float) -> None:
        """End the alert."""
        self._recent.clear()
        self._num_calm, self._evidence = 0, 0.0
        self._resolved_s = now_s
        self.state = State.RESOLVED

    def is_refractory(self, now_s: float) -> bool:
        """Whether an alert raised now is the one that was resolved last."""
        return now_s - self._resolved_s <= self._decision.refractory_s

    def document(self) -> dict[str, Any]:
        """What must survive a restart; a calm begins anew after one."""
        resolved_s = None if self._resolved_s == float("-inf") else self._resolved_s
        return {"state": self.state, "since_s": self.since_s, "recent": list(self._recent), "resolved_s": resolved_s}

    def restore(self, document: dict[str, Any]) -> None:
        """Go on from `document`."""
        self.state, self.since_s = State(document["state"]), float(document["since_s"])
        self._recent.extend(bool(unusual) for unusual in document["recent"])
        if document["resolved_s"] is not None:
            self._resolved_s = float(document["resolved_s"])

    def _follow(self, calm: bool, now_s: float, evidence: float) -> None:
        gap_s = now_s - self._seen_s
        is_gap = gap_s > max(self._decision.max_gap_s, 2.0 * self._interval_s)
        if not is_gap:
            self._interval_s = gap_s
        self._seen_s = now_s
        self._not_calm.append(not calm)
        if is_gap or sum(self._not_calm) > 1 or (not calm and not self._num_calm):
            self._num_calm, self._evidence = 0, 0.0
        if calm:
            self._evidence += evidence
            self._calm_since_s = self._calm_since_s if self._num_calm else now_s
            self._num_calm += 1

    def _at_rest(self, now_s: float) -> State:
        return State.RESOLVED if self.is_refractory(now_s) else State.OK
