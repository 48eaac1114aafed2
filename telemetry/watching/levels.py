"""Watches signals that should stay near their usual level: queue, inference and training step time, event-loop lag.

Memory has a watch of its own. CPU follows the load and is judged only where it is used up.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from telemetry.series.frame import Frame
from telemetry.watching.baseline import Baseline
from telemetry.watching.decision import Decision, State
from telemetry.watching.durations import duration_range, duration_text
from telemetry.watching.watch import CALM, Verdict


@dataclass(frozen=True, kw_only=True)
class Level:
    """One signal and how far it must rise to be unusual."""

    signal: str
    of: str
    """Name of the signal in the frame."""
    text: str
    """How an alert calls it."""
    shift: float
    """Least rise above the median that is unusual, in the signal's unit."""
    ratio: float = 2.0
    """Least rise above the median as a fraction of it."""
    say: Callable[[float], str] = duration_text
    say_range: Callable[[tuple[float, float]], str] = duration_range
    follows_step: bool = False
    """Whether it may change with what is trained."""


LEVELS = (
    Level(signal="queue", of="queue_p95", text="p95 queue time", shift=0.005),
    Level(signal="inference", of="inference_p95", text="p95 inference time", shift=0.005),
    Level(signal="event_loop", of="event_loop_p95", text="p95 event-loop lag", shift=0.1),
    Level(signal="train_step", of="train_step_p95", text="p95 training step", shift=0.05, follows_step=True),
)


class LevelWatch:
    """Scores one level in every frame that has it."""

    decision = Decision(num_needed=4, num_considered=5)

    def __init__(self, level: Level) -> None:
        self.signal = level.signal
        self._level = level
        self._step = ""
        self.relearn()

    def relearn(self) -> None:
        """Forget what was usual."""
        self._baseline = Baseline(ratio=self._level.ratio, shift=self._level.shift)

    def see(self, frame: Frame) -> Verdict | None:
        """Score the frame's value; another training step is another signal."""
        level = self._level
        value = frame.signals.get(level.of, math.nan)
        if math.isnan(value):
            return None
        if level.follows_step and frame.step != self._step:
            self._step = frame.step
            self.relearn()
        score, expected = self._baseline.score(value, frame.steady_s), self._baseline.expected(frame.steady_s)
        frame.expected[level.of] = expected
        return Verdict(
            unusual=score >= 1.0,
            calm=score < CALM,
            score=score,
            value=value,
            expected=expected,
            sentence=f"{level.text} {level.say(value)}, expected {level.say_range(expected)}",
        )

    def settle(self, state: State, now_s: float) -> None:
        """Learn, or forget what is held."""
        self._baseline.settle(state, now_s)

    def document(self) -> dict[str, Any]:
        """What was usual, and of which training step."""
        return {"baseline": self._baseline.document(), "step": self._step}

    def restore(self, document: dict[str, Any]) -> None:
        """Take it up again."""
        self._baseline.restore(document["baseline"])
        self._step = str(document["step"])
