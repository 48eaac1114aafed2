"""The record of what was raised."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from telemetry.watching.decision import State

MAX_ALERTS = 500
"""Ended alerts that are remembered; the oldest are forgotten first. One that fires is never forgotten."""


@dataclass(kw_only=True)
class Alert:
    """One thing that went wrong, from the first unusual value to the return to normal."""

    id: int
    service: str
    signal: str
    instance: str = ""
    """The process it is about, empty where it is about all of the service."""
    hosts: list[str] = field(default_factory=list)
    """Where that process, or those of the service, ran when it fired."""
    state: State
    started_s: float
    """When the first unusual value came, Unix seconds."""
    fired_s: float
    resolved_s: float | None = None
    ended_by: str = ""
    """"returned", "accepted" or "left" once it is resolved."""
    value: float
    """The most unusual value."""
    last: float | None = None
    """The latest value."""
    expected_low: float
    expected_high: float
    score: float
    sentence: str


Listener = Callable[[Alert], None]


class AlertBook:
    """The alerts of all services, the latest last."""

    def __init__(self) -> None:
        self._alerts: deque[Alert] = deque()
        self._ids = itertools.count(1)
        self._listeners: list[Listener] = []

    def __iter__(self) -> Iterator[Alert]:
        return iter(self._alerts)

    def listen(self, listener: Listener) -> None:
        """Call `listener` with each alert that begins to fire, ends, or fires again."""
        self._listeners.append(listener)

    def next_id(self) -> int:
        """An id that no alert has yet."""
        return next(self._ids)

    def add(self, alert: Alert) -> None:
        """Remember `alert`; it goes on changing until it is resolved."""
        self._alerts.append(alert)
        ended = [each for each in self._alerts if each.state is not State.FIRING]
        for each in ended[: max(0, len(ended) - MAX_ALERTS)]:
            self._alerts.remove(each)
        self.changed(alert)

    def changed(self, alert: Alert) -> None:
        """Tell who listens that `alert` fires, or fires no more."""
        for listener in self._listeners:
            listener(alert)

    def firing(self) -> list[Alert]:
        """Those that are not resolved."""
        return [alert for alert in self._alerts if alert.state is State.FIRING]

    def expire(self, before_s: float) -> None:
        """Forget alerts that were resolved before `before_s`."""
        self._alerts = deque(each for each in self._alerts if each.resolved_s is None or each.resolved_s >= before_s)

    def document(self) -> list[dict[str, Any]]:
        """What must survive a restart."""
        return [asdict(alert) for alert in self._alerts]

    def restore(self, document: list[dict[str, Any]]) -> None:
        """Take up the alerts that `document` holds."""
        self._alerts.extend(Alert(**{**each, "state": State(each["state"])}) for each in document)
        self._ids = itertools.count(1 + max((alert.id for alert in self._alerts), default=0))
