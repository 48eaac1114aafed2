"""The record of what was raised."""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from telemetry.watching.decision import State

MAX_ALERTS = 500
"""Alerts that are remembered; the oldest are forgotten first."""


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
