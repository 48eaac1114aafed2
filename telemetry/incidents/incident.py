"""One fault as a person sees it: all alerts that it raised, wherever they came up."""

from dataclasses import dataclass, field
from enum import StrEnum

from telemetry.incidents.changes import Change
from telemetry.watching.alerts import Alert
from telemetry.watching.decision import State


class Ending(StrEnum):
    """Why an incident is over. That it has lasted is no reason."""

    RETURNED = "returned"
    """The signals are what they were."""
    ACCEPTED = "accepted"
    """A person, or a rollout, said that this is normal now."""
    LEFT = "left"
    """All processes of the service ended in order and none took their place."""


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """Somebody is looking at it."""

    by: str
    note: str
    at_s: float


@dataclass(kw_only=True)
class Incident:
    """Alerts that belong together, from the first unusual value to the end of the last of them."""

    id: int
    alerts: list[Alert]
    """In the order in which they fired."""
    causes: list[Change] = field(default_factory=list)
    """What changed shortly before, the most probable cause first."""
    ended_s: float | None = None
    acknowledged: Acknowledgement | None = None

    @property
    def is_open(self) -> bool:
        """Whether one of its alerts still fires."""
        return self.ended_s is None

    @property
    def started_s(self) -> float:
        """When the first unusual value came."""
        return min(alert.started_s for alert in self.alerts)

    @property
    def fired_s(self) -> float:
        """When the first alert fired."""
        return min(alert.fired_s for alert in self.alerts)

    @property
    def services(self) -> list[str]:
        """Where it shows, the first to fire first."""
        return list(dict.fromkeys(alert.service for alert in self.alerts))

    @property
    def firing(self) -> list[Alert]:
        """Its alerts that are not over."""
        return [alert for alert in self.alerts if alert.state is State.FIRING]

    @property
    def ended_by(self) -> str:
        """An `Ending`, or empty while it is open; where one of its alerts was accepted, that."""
        if self.is_open:
            return ""
        endings = [alert.ended_by for alert in self.alerts]
        return next((ending for ending in (Ending.ACCEPTED, Ending.LEFT) if ending in endings), Ending.RETURNED)

    @property
    def worst(self) -> Alert:
        """The alert that speaks for it, of those that fire if any does."""
        return max(self.firing or self.alerts, key=lambda alert: (SEVERITY.get(alert.signal, 1), -alert.fired_s))

    @property
    def title(self) -> str:
        """What a banner says: the sentence of the worst alert, and in how many others it shows."""
        sentence = self.worst.sentence
        others = len({(alert.service, alert.signal) for alert in self.firing or self.alerts}) - 1
        return f"{sentence}; seen in {others} other signal{'s' * (others > 1)}" if others else sentence


SEVERITY = {"absence": 5, "server_errors": 4, "teacher": 4, "throughput": 3, "latency": 3, "client_errors": 2}
"""Which alert speaks for an incident: what its users feel before what may explain it."""
