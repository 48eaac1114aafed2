"""Decides from scores: a state machine for each watched signal, and the record of what it raised.

ok -> pending -> firing -> resolved -> ok            k of the last n scores raise, k normal ones resolve;
       |-> ok               |-> firing               what comes back within the refractory time is the same alert
"""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

MAX_ALERTS = 500
"""Alerts that are remembered, the latest first to stay."""


class State(StrEnum):
    """Where an alert stands."""

    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(kw_only=True)
class Alert:
    """One thing that went wrong, from the first unusual value to the return to normal."""

    id: int
    service: str
    signal: str
    state: State
    started_s: float
    """When the first unusual value came, Unix seconds."""
    fired_s: float
    resolved_s: float | None = None
    value: float
    """The most unusual value."""
    expected_low: float
    expected_high: float
    score: float
    sentence: str


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


class AlertBook:
    """The alerts of all services, the latest last."""

    def __init__(self) -> None:
        self._alerts: deque[Alert] = deque(maxlen=MAX_ALERTS)
        self._ids = itertools.count(1)

    def __iter__(self) -> Iterator[Alert]:
        return iter(self._alerts)

    def next_id(self) -> int:
        """An id that no alert has yet."""
        return next(self._ids)

    def add(self, alert: Alert) -> None:
        """Remember `alert`; it goes on changing until it is resolved."""
        self._alerts.append(alert)

    def firing(self) -> list[Alert]:
        """Those that are not resolved."""
        return [alert for alert in self._alerts if alert.state is State.FIRING]

    def expire(self, before_s: float) -> None:
        """Forget alerts that were resolved before `before_s`."""
        kept = [alert for alert in self._alerts if alert.resolved_s is None or alert.resolved_s >= before_s]
        self._alerts = deque(kept, maxlen=MAX_ALERTS)
