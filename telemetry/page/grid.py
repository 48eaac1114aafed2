"""Times that a plot draws at, and what a line of many more points is there: its mean or peak, its least and largest."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry.storage.points import Points

MAX_POINTS = 600
"""Points of one line: about as many as a plot is wide."""
BRIDGED = 2
"""Bins without a value that a line goes on over, since reports come a little early or late."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One line on the grid, NaN where there is nothing."""

    values: Floats
    low: Floats
    """The least value that each point covers."""
    high: Floats

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return bool(np.isnan(self.values).all())


@dataclass(frozen=True, kw_only=True)
class Grid:
    """`num` times from `first_s` on, `step_s` apart: multiples of the step, so that a moving range keeps its bins."""

    first_s: float
    step_s: float
    num: int

    @classmethod
    def over(cls, start_s: float, end_s: float, *, interval_s: float = 1.0, max_points: int = MAX_POINTS) -> "Grid":
        """The finest grid over a range that has at most `max_points` and no bins shorter than `interval_s`."""
        step_s = max(1.0, math.ceil((end_s - start_s) / max_points), math.ceil(interval_s - 0.5))
        first_s = math.floor(start_s / step_s) * step_s
        return cls(first_s=first_s, step_s=step_s, num=int((end_s - first_s) / step_s) + 1)

    def times(self) -> Floats:
        """The times, Unix seconds."""
        return self.first_s + self.step_s * np.arange(self.num, dtype=np.float64)

    def earlier(self, by_s: float) -> "Grid":
        """The same grid, so many seconds before."""
        return Grid(first_s=self.first_s - by_s, step_s=self.step_s, num=self.num)

    def draw(self, points: Points, *, peak: bool = False, interval_s: float = 0.0) -> Drawn:
        """Points of a line, in the order of time, on the grid; `peak` takes the largest of a bin, else their mean.

        Where points come only every `interval_s`, that is no hole.
        """
        num_bridged = max(BRIDGED, math.ceil(1.5 * interval_s / self.step_s))
        edges = np.searchsorted(points.times, self.first_s + self.step_s * np.arange(self.num + 1))
        filled = np.flatnonzero(np.diff(edges))
        low, high, mean = (np.full(self.num, np.nan) for _ in range(3))
        if len(filled):
            starts, end = edges[filled], edges[-1]
            values = points.values[:end]
            known = np.isfinite(values)
            low[filled] = np.fmin.reduceat(np.where(known, points.low[:end], np.nan), starts)
            high[filled] = np.fmax.reduceat(np.where(known, points.high[:end], np.nan), starts)
            counts = np.add.reduceat(known.astype(float), starts)
            sums = np.add.reduceat(np.where(known, values, 0.0), starts)
            mean[filled] = np.divide(sums, counts, out=np.full(len(filled), np.nan), where=counts > 0)
        drawn = Drawn(values=high.copy() if peak else mean, low=low, high=high)
        for line in (drawn.values, low, high):
            _bridge(line, num_bridged)
        return drawn


def _bridge(line: Floats, num_bridged: int) -> None:
    filled = np.flatnonzero(np.isfinite(line))
    short = np.flatnonzero((np.diff(filled) > 1) & (np.diff(filled) <= num_bridged + 1))
    for left, right in zip(filled[short], filled[short + 1], strict=True):
        line[left + 1 : right] = line[left]
