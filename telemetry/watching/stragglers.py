"""Watches for a train worker that is slower than the others: all of them wait for it at every step.

The step's duration does not tell which one it is, since the gradients' all-reduce makes all steps last as long as the
slowest; what each worker does before it waits for the others does.
"""

from telemetry.series.frame import Frame
from telemetry.series.signals import slowness
from telemetry.watching.alerts import Decision
from telemetry.watching.watches import Verdict, duration_text

RATIO = 1.5
"""A worker this many times as slow as the others is unusual."""
SHIFT_S = 0.002
"""Seconds by which it must be slower: less costs a training nothing that matters."""


class StragglerWatch:
    """Compares the workers of one training in every frame."""

    signal = "straggler"
    decision = Decision(num_needed=4, num_considered=5)

    def see(self, frame: Frame) -> Verdict | None:
        """Judge the slowest worker; None while there are no two to compare."""
        ratios = slowness(frame.work)
        if not ratios:
            return None
        rank = max(ratios, key=ratios.__getitem__)
        value = frame.work[rank]
        usual = value / ratios[rank]
        return Verdict(
            time_s=frame.time_s,
            unusual=ratios[rank] >= RATIO and value - usual >= SHIFT_S,
            score=ratios[rank],
            value=value,
            expected=(0.0, usual * RATIO),
            sentence=f"worker {rank} needs {duration_text(value)} of its own for a step, the others "
            f"{duration_text(usual)}: all of them wait for it",
        )
