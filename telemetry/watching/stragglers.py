"""Watches for a train worker that is slower than the others: all of them wait for it at every step.

The duration of a step is the same for all workers, since all wait in it for the slowest one's gradients. Which one that
is shows in the time each worker spends before it begins to wait.
"""

from typing import Any

from telemetry.series.frame import Frame
from telemetry.series.signals import slowness
from telemetry.watching.decision import Decision, State
from telemetry.watching.durations import duration_text
from telemetry.watching.watch import Verdict

RATIO = 1.5
"""A worker this many times as slow as the others is unusual."""
SHIFT_S = 0.002
"""Seconds by which it must be slower as well: less does not slow a training noticeably."""


class StragglerWatch:
    """Compares the workers of one training in every frame."""

    signal = "straggler"
    decision = Decision(num_needed=4, num_considered=5)

    def settle(self, state: State, now_s: float) -> None:
        """Nothing is learnt here: workers are compared with each other."""

    def document(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, document: dict[str, Any]) -> None:
        """Nothing."""

    def relearn(self) -> None:
        """Nothing is learnt here: workers are compared with each other."""

    def see(self, frame: Frame) -> Verdict | None:
        """Judge the slowest worker; None while there are no two to compare."""
        ratios = slowness(frame.work)
        if not ratios:
            return None
        rank = max(ratios, key=ratios.__getitem__)
        value = frame.work[rank]
        usual = value / ratios[rank]
        unusual = ratios[rank] >= RATIO and value - usual >= SHIFT_S
        return Verdict(
            unusual=unusual,
            calm=not unusual,
            score=ratios[rank],
            value=value,
            expected=(0.0, usual * RATIO),
            sentence=f"worker {rank} spends {duration_text(value)} of each step on its own work, the others "
            f"{duration_text(usual)}; all wait for the slowest",
        )
