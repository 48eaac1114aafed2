"""What every watch does: frames in, verdicts out.

Frame -> Watch (gathers enough requests, scores, learns) -> Verdict -> Machine (decides) -> Alert
"""

from dataclasses import dataclass
from typing import Protocol

from telemetry.series.frame import Frame
from telemetry.watching.decision import Decision

LEARNT_WHILE_UNUSUAL = 10
"""Of unusual values in a row one in so many is learnt: a lasting shift becomes what is usual after many minutes."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a watch says about the latest values."""

    time_s: float
    unusual: bool
    score: float
    value: float
    expected: tuple[float, float]
    sentence: str


class Watch(Protocol):
    """Scores one thing about a service."""

    signal: str
    decision: Decision

    def see(self, frame: Frame) -> Verdict | None:
        """Score the frame, then learn it; None while there are too few requests to say anything."""
        ...

    def relearn(self) -> None:
        """Forget what was usual; what comes next is."""
        ...
