"""What every watch does: frames in, verdicts out; what it may learn of them it is told.

Frame -> Watch (gathers enough requests, scores) -> Verdict -> Machine (decides) -> Alert
           '<------------ settle: learn what is old enough, or let it be -----'

Nothing is learnt while a signal is pending or fires, and nothing but what lies some time back, so that neither an
incident nor its beginning becomes what is usual.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from telemetry.series.frame import Frame
from telemetry.watching.decision import Decision, State

CALM = 0.6
"""Share of the score from which a value is unusual, below which it is back."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a watch says about the latest values."""

    unusual: bool
    calm: bool
    """Whether that it is not unusual is enough to say that it is back."""
    evidence: float = 0.0
    """How much it stands on, where the decision asks for some."""
    stands_for: int = 1
    """As how many unusual verdicts it counts: more where it is of a time in which several would have come."""
    score: float
    value: float
    expected: tuple[float, float]
    sentence: str
    instance: str = ""
    """The process it is about, if it is one."""
    hosts: frozenset[str] = field(default_factory=frozenset)


class Judge(Protocol):
    """Judges one thing about a service, and knows what is usual of it."""

    signal: str
    decision: Decision

    def relearn(self) -> None:
        """Forget what was usual; what comes next is."""
        ...

    def document(self) -> dict[str, Any]:
        """What was learnt, as JSON."""
        ...


class Watch(Judge, Protocol):
    """Judges by frames."""

    def see(self, frame: Frame) -> Verdict | None:
        """Score the frame and hold it; None while there are too few requests to say anything."""
        ...

    def settle(self, state: State, now_s: float) -> None:
        """Learn what is held for long enough where the signal is at rest; forget it where it fires."""
        ...

    def restore(self, document: dict[str, Any]) -> None:
        """Go on from what `document` returned."""
        ...
