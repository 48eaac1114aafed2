"""Watches the memory of each process: that it is far above what was usual, and that it grows without end."""

import math
from typing import Any

from telemetry.detectors.trend import Trend
from telemetry.series.frame import Frame
from telemetry.watching.baseline import Baseline
from telemetry.watching.decision import Decision, State
from telemetry.watching.watch import CALM, Verdict

MIB = 2.0**20
SHIFT = 64 * MIB
"""Least rise that is unusual."""
RATIO = 0.8
"""Least rise of a level, as a fraction of it."""
WARM_S = 120.0
"""A younger process is still loading; its memory says nothing."""
GROWTHS = ((300.0, 30, 0.15), (3600.0, 40, 0.3))
"""Seconds and points in which a rise is looked for, and how large it must be as a fraction of where it began."""


class MemoryWatch:
    """Scores the largest process of each role, and the growth of each process.

    Growth is Theil's and Sen's slope over the last five minutes and the last hour, where Kendall's test says that there
    is one. A process that was started anew is small again whatever ails it: an alert ends only after `calm_s` without
    growth.
    """

    signal = "memory"
    decision = Decision(num_needed=4, num_considered=5, calm_s=900.0, max_gap_s=120.0)

    def __init__(self) -> None:
        self._began_s: dict[str, float] = {}
        self.relearn()

    def relearn(self) -> None:
        """Forget what was usual."""
        self._levels: dict[str, Baseline] = {}
        self._growths: dict[str, list[Trend]] = {}

    def see(self, frame: Frame) -> Verdict | None:
        """Score every process that is warm; the most unusual one speaks."""
        now_s = frame.steady_s
        self._began_s = {name: self._began_s.get(name, now_s) for name in frame.instances}
        self._growths = {name: growths for name, growths in self._growths.items() if name in frame.instances}
        largest: dict[str, tuple[float, str]] = {}
        said: list[tuple[float, str, float, tuple[float, float], str]] = []
        for name, instance in frame.instances.items():
            memory = instance.memory
            if math.isnan(memory) or now_s - self._began_s[name] < WARM_S:
                continue
            largest[instance.role] = max(largest.get(instance.role, (0.0, "")), (memory, name))
            growths = self._growths.get(name) or self._growths.setdefault(name, _growths())
            for growth in growths:
                growth.learn_one(memory, now_s)
                score, expected = growth.score_one(memory, now_s), growth.expected(now_s)
                said.append((score, name, memory, expected, _growing(growth, memory, instance.available)))
        for role, (memory, name) in largest.items():
            level = self._levels.get(role) or self._levels.setdefault(role, Baseline(ratio=RATIO, shift=SHIFT))
            score, expected = level.score(memory, now_s), level.expected(now_s)
            said.append((score, name, memory, expected, f"expected {_mib_range(expected)}"))
        if not said:
            return None
        score, name, memory, expected, text = max(said)
        return Verdict(
            unusual=score >= 1.0,
            calm=score < CALM,
            score=score,
            value=memory,
            expected=expected,
            sentence=f"memory of {name} {_mib(memory)}, {text}",
            instance=name,
        )

    def settle(self, state: State, now_s: float) -> None:
        """Learn, or forget what is held; growth is learnt in any case, as a line has no usual."""
        for level in self._levels.values():
            level.settle(state, now_s)

    def document(self) -> dict[str, Any]:
        """What was usual, by role; growth, by process."""
        return {
            "levels": {role: level.document() for role, level in self._levels.items()},
            "growths": {name: [growth.state() for growth in growths] for name, growths in self._growths.items()},
            "began_s": self._began_s,
        }

    def restore(self, document: dict[str, Any]) -> None:
        """Take it up again."""
        for role, level in document["levels"].items():
            self._levels[role] = Baseline(ratio=RATIO, shift=SHIFT)
            self._levels[role].restore(level)
        for name, states in document["growths"].items():
            self._growths[name] = _growths()
            for growth, state in zip(self._growths[name], states, strict=True):
                growth.restore(state)
        self._began_s = {str(name): float(began_s) for name, began_s in document["began_s"].items()}


def _growths() -> list[Trend]:
    return [
        Trend(window_s=seconds, num_points=num, least_ratio=ratio, least_shift=SHIFT) for seconds, num, ratio in GROWTHS
    ]


def _growing(growth: Trend, memory: float, available: float) -> str:
    """How fast, and how long what is left lasts, where that is known."""
    text = f"it grows by {_mib(60 * (growth.slope() or 0.0))} a minute"
    left_s = None if math.isnan(available) else growth.seconds_until(memory + available)
    return text if left_s is None else f"{text}: what is left, {_mib(available)}, lasts {_lasting(left_s)}"


def _lasting(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _mib(value: float) -> str:
    return f"{value / MIB:.0f} MiB"


def _mib_range(expected: tuple[float, float]) -> str:
    return f"{expected[0] / MIB:.0f}-{_mib(expected[1])}"
