"""Decides from scores: a state machine for each watched signal.

ok -> pending -> firing -> resolved -> ok            k of the last n scores raise, k normal ones resolve;
       |-> ok               |-> firing               what comes back within the refractory time is the same alert
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where an alert stands."""

    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How many unusual scores it takes."""

    num_needed: int = 4
    """Unusual scores among the last `num_considered` that raise an alert."""
    num_considered: int = 5
    num_normal: int = 5
    """Normal scores in a row that resolve it."""
    refractory_s: float = 60.0
    """For how long after that the same alert is taken up again instead of a new one."""


class Machine:
    """The states of one watched signal."""

    def __init__(self, decision: Decision) -> None:
        self.state = State.OK
        self.since_s = 0.0
        """When the first unusual score of this episode came."""
        self._decision = decision
        self._recent: deque[bool] = deque(maxlen=decision.num_considered)
        self._num_normal = 0
        self._resolved_s = float("-inf")

    def step(self, unusual: bool, now_s: float) -> State:
        """Take one verdict and return the state it leads to."""
        self._recent.append(unusual)
        self._num_normal = 0 if unusual else self._num_normal + 1
        if self.state is State.FIRING:
            if self._num_normal >= self._decision.num_normal:
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
        """End the alert, as when nothing more is heard of the signal."""
        self._recent.clear()
        self._resolved_s = now_s
        self.state = State.RESOLVED

    def is_refractory(self, now_s: float) -> bool:
        """Whether an alert raised now is the one that was resolved last."""
        return now_s - self._resolved_s <= self._decision.refractory_s

    def _at_rest(self, now_s: float) -> State:
        return State.RESOLVED if self.is_refractory(now_s) else State.OK
