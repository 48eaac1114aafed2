"""The Numenta Anomaly Benchmark's standard profile (Lavin & Ahmad 2015, arXiv:1510.03336)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FALSE_POSITIVE = 0.11
"""What one false alarm costs at most, a missed window costing 1."""
PROBATION, MOST_PROBATION = 0.15, 750
"""Share of a file, and values at most, whose alarms do not count."""
FARTHEST = 3.0
"""Windows' widths after one from which on an alarm is as wrong as can be."""
BEST = 0.98661
"""The sigmoid at a window's first value."""


@dataclass(frozen=True)
class Window:
    """Where an anomaly lies: places of the first and of the last value."""

    first: int
    last: int

    def __contains__(self, place: int) -> bool:
        return self.first <= place <= self.last

    @property
    def width(self) -> int:
        """How many values it has."""
        return self.last - self.first + 1


def raw_score(num_values: int, windows: Sequence[Window], alarms: Iterable[int]) -> float:
    """One file's: up to 1 for a window found, the earlier the more; -1 for a missed one; less for false alarms."""
    counted = [alarm for alarm in alarms if alarm >= min(int(PROBATION * num_values), MOST_PROBATION)]
    found = [[alarm for alarm in counted if alarm in window] for window in windows]
    hits = sum(_hit(min(inside), window) if inside else -1.0 for inside, window in zip(found, windows, strict=True))
    false = (alarm for alarm in counted if not any(alarm in window for window in windows))
    return hits - sum(_cost(alarm, windows) for alarm in false)


def normalised(raw: float, num_windows: int) -> float:
    """A sum of raw scores over files that have `num_windows`: 0 of a detector that is silent, 100 of a perfect one."""
    return 100 * (raw + num_windows) / (2 * num_windows)


def sigmoid(y: float) -> float:
    """1 far left of 0, -1 far right of it."""
    return 2 / (1 + math.exp(5 * y)) - 1


def _hit(alarm: int, window: Window) -> float:
    return sigmoid(-(window.last - alarm + 1) / window.width) / BEST


def _cost(alarm: int, windows: Sequence[Window]) -> float:
    before = [window for window in windows if window.last < alarm]
    if not before:
        return FALSE_POSITIVE
    nearest = max(before, key=lambda window: window.last)
    y = (alarm - nearest.last) / (nearest.width - 1)
    return FALSE_POSITIVE if y > FARTHEST else -FALSE_POSITIVE * sigmoid(y)
