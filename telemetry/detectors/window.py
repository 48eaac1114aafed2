"""The latest numbers, in their order and sorted."""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

IQR_OF_NORMAL = 1.349
"""Interquartile range of the standard normal distribution."""

Side = Literal["above", "below", "both"]


class SortedWindow:
    """The last `size` numbers added; quantiles cost no sort."""

    def __init__(self, size: int) -> None:
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self._size = size

    def __len__(self) -> int:
        return len(self._recent)

    def __iter__(self) -> Iterator[float]:
        return iter(self._recent)

    def add(self, x: float) -> None:
        """Add `x`; the oldest leaves a full window."""
        if len(self._recent) == self._size:
            oldest = self._recent.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
        self._recent.append(x)
        insort(self._sorted, x)

    def replace(self, xs: Iterable[float]) -> None:
        """Hold the last `size` of `xs` and nothing else."""
        self._recent = deque(deque(xs, maxlen=self._size))
        self._sorted = sorted(self._recent)

    def quantile(self, q: float) -> float:
        """The `q` quantile, linear between neighbours as numpy's; 0 of no numbers."""
        if not self._sorted:
            return 0.0
        place = q * (len(self._sorted) - 1)
        below = int(place)
        above = min(below + 1, len(self._sorted) - 1)
        low, high = self._sorted[below], self._sorted[above]
        return low + (high - low) * (place - below)

    def deviation(self, side: Side) -> float:
        """One robust standard deviation, by the quartiles or by the one on `side` if it is the farther from the median.

        Where a quarter of the numbers are equal, quartiles say little: then it is at least the ordinary one.
        """
        if not self._sorted or self._sorted[0] == self._sorted[-1]:
            return 0.0
        lower, middle, upper = map(self.quantile, (0.25, 0.5, 0.75))
        half = {"above": upper - middle, "below": middle - lower, "both": 0.0}[side]
        ordinary = float(np.std(self._sorted)) if middle in (lower, upper) else 0.0
        return max((upper - lower) / IQR_OF_NORMAL, 2 * half / IQR_OF_NORMAL, ordinary)

    def above(self, limit: float) -> list[float]:
        """Those larger than `limit`, ascending."""
        return self._sorted[bisect_right(self._sorted, limit) :]

    def below(self, limit: float) -> list[float]:
        """Those smaller than `limit`, ascending."""
        return self._sorted[: bisect_left(self._sorted, limit)]
