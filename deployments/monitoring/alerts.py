"""What a collector tells of a model: the alerts that fire, and what is unusual of each version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert that fires."""

    id: int
    signal: str
    started_s: float
    """When the first unusual value came, Unix seconds."""
    fired_s: float
    """When that was sure."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is known of a model."""

    alerts: Sequence[Alert] = ()
    """Those that fire."""
    unusual: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What has drifted or fallen, by version."""


def firing(told: Mapping[str, Any], model: str) -> list[Alert]:
    """Those of `model` in what `/telemetry/api/incidents` tells, oldest first.

    Raises:
        KeyError, TypeError, ValueError: it is no such answer.
    """
    found = {
        each["alert"]: Alert(
            id=int(each["alert"]),
            signal=str(each["signal"]),
            started_s=float(each["started_s"]),
            fired_s=float(each["fired_s"]),
            text=f"{each['signal']}: {each['sentence']}",
        )
        for incident in told["incidents"]
        for each in incident["evidence"]
        if each["service"] == model and each["state"] == "firing"
    }
    return sorted(found.values(), key=lambda alert: alert.started_s)
