"""Watches signals that should stay near their usual level: queue, inference and training step time, memory.

CPU and throughput follow the load and are plotted, not judged.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from telemetry.detectors.robust_z import RobustZScore
from telemetry.series.frame import Frame
from telemetry.watching.decision import Decision
from telemetry.watching.durations import duration_range, duration_text
from telemetry.watching.watch import LEARNT_WHILE_UNUSUAL, Verdict

MIB = 2.0**20


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
    ratio: float
    """Least rise above the median as a fraction of it."""
    say: Callable[[float], str]
    say_range: Callable[[tuple[float, float]], str]
    per_instance: bool = False
    """Whether the signal is a sum over instances, whose number may change."""


def _mib(value: float) -> str:
    return f"{value / MIB:.0f} MiB"


def _mib_range(expected: tuple[float, float]) -> str:
    return f"{expected[0] / MIB:.0f}-{_mib(expected[1])}"


def _duration(signal: str, of: str, text: str, shift: float) -> Level:
    return Level(signal=signal, of=of, text=text, shift=shift, ratio=2.0, say=duration_text, say_range=duration_range)


LEVELS = (
    _duration("queue", "queue_p95", "p95 queue time", 0.005),
    _duration("inference", "inference_p95", "p95 inference time", 0.005),
    _duration("train_step", "train_step_p95", "p95 training step", 0.05),
    Level(
        signal="memory",
        of="memory",
        text="memory of an instance",
        shift=64 * MIB,
        ratio=0.8,
        say=_mib,
        say_range=_mib_range,
        per_instance=True,
    ),
)


class LevelWatch:
    """Scores one level in every frame that has it."""

    decision = Decision(num_needed=4, num_considered=5)

    def __init__(self, level: Level) -> None:
        self.signal = level.signal
        self._level = level
        self.relearn()

    def relearn(self) -> None:
        """Forget what was usual."""
        self._detector = RobustZScore(least_ratio=self._level.ratio, least_shift=self._level.shift)
        self._num_unusual = 0

    def see(self, frame: Frame) -> Verdict | None:
        """Score the frame's value, then learn it."""
        level = self._level
        value = frame.signals.get(level.of, math.nan) / (frame.num_instances if level.per_instance else 1)
        if math.isnan(value):
            return None
        score, expected = self._detector.score_one(value, frame.time_s), self._detector.expected(frame.time_s)
        unusual = score >= 1.0
        self._num_unusual = self._num_unusual + 1 if unusual else 0
        if self._num_unusual % LEARNT_WHILE_UNUSUAL == 0:
            self._detector.learn_one(value, frame.time_s)
        return Verdict(
            time_s=frame.time_s,
            unusual=unusual,
            score=score,
            value=value,
            expected=expected,
            sentence=f"{level.text} {level.say(value)}, expected {level.say_range(expected)}",
        )
