"""The samples of one series that lie in a window before each step."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry.queries.vectors import Bools, Floats, Ints, Series

MAX_FLAT = 2_000_000
"""Samples that are laid out side by side at a time, so that memory stays bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Window i holds samples `low[i]:high[i]` of the series: those from `begin_ms[i]` to `end_ms[i]`, both included."""

    series: Series
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    begin_ms: Ints
    end_ms: Ints

    @classmethod
    def of(cls, series: Series, end_ms: Ints, range_ms: int) -> "Windows":
        """Windows of one length that end at `end_ms`."""
        begin_ms = end_ms - range_ms
        return cls(
            series=series,
            low=np.searchsorted(series.times_ms, begin_ms, "left"),
            high=np.searchsorted(series.times_ms, end_ms, "right"),
            begin_ms=begin_ms,
            end_ms=end_ms,
        )

    @property
    def nums(self) -> NDArray[np.intp]:
        """Samples in each."""
        return self.high - self.low

    @property
    def first(self) -> NDArray[np.intp]:
        """The first sample of each; of an empty one, any."""
        return np.minimum(self.low, max(len(self.series.values) - 1, 0))

    @property
    def last(self) -> NDArray[np.intp]:
        """The last sample of each; of an empty one, any."""
        return np.maximum(self.high - 1, 0)

    def at_least(self, num: int) -> Bools:
        """Which hold this many samples."""
        return np.asarray(self.nums >= num)

    def pieces(self) -> Iterator["Windows"]:
        """The windows, as many at a time as hold `MAX_FLAT` samples together."""
        totals = np.cumsum(self.nums)
        start = 0
        while start < len(totals):
            before = totals[start - 1] if start else 0
            end = max(start + 1, int(np.searchsorted(totals, before + MAX_FLAT, "right")))
            yield Windows(
                series=self.series,
                low=self.low[start:end],
                high=self.high[start:end],
                begin_ms=self.begin_ms[start:end],
                end_ms=self.end_ms[start:end],
            )
            start = end

    def flat(self) -> "Flat":
        """The samples of all windows that hold some, one after the other."""
        nums = self.nums
        held = np.flatnonzero(nums > 0)
        lengths = nums[held]
        starts = np.cumsum(lengths) - lengths
        places = np.arange(int(lengths.sum())) - np.repeat(starts - self.low[held], lengths)
        return Flat(
            held=held,
            starts=starts,
            nums=lengths,
            values=self.series.values[places],
            times_ms=self.series.times_ms[places],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """Samples of windows one after the other, each as often as it is in one."""

    held: NDArray[np.intp]
    """The windows that have samples."""
    starts: NDArray[np.intp]
    """Where each of them begins."""
    nums: NDArray[np.intp]
    values: Floats
    times_ms: Ints

    def each(self, per_window: Floats) -> Floats:
        """A number for each window, repeated for each of its samples."""
        return np.repeat(per_window, self.nums)

    def sums(self, values: Floats) -> Floats:
        """For each window."""
        return np.asarray(np.add.reduceat(values, self.starts)) if len(self.starts) else np.zeros(0)
