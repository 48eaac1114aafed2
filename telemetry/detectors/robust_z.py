"""How many robust standard deviations a number lies above a sliding window's median."""

from collections import deque

import numpy as np

IQR_OF_NORMAL = 1.349
"""Interquartile range of the standard normal distribution."""


class RobustZScore:
    """(x - median) / max(IQR / 1.349, relative floor x |median|, absolute floor), not below 0.

    Median and quartiles ignore up to a quarter of outliers in the window (Iglewicz & Hoaglin 1993, How to Detect and
    Handle Outliers; Rousseeuw & Croux 1993, doi:10.1080/01621459.1993.10476408). The floors are the least that one
    standard deviation counts as: after a quiet window, a small rise is not unusual.
    """

    def __init__(
        self,
        *,
        window: int = 120,
        warmup: int = 10,
        relative_floor: float = 0.25,
        absolute_floor: float = 0.0,
    ) -> None:
        self._window: deque[float] = deque(maxlen=window)
        self._warmup = warmup
        self._relative_floor = relative_floor
        self._absolute_floor = absolute_floor
        self._summary: tuple[float, float, float, float, float] | None = None

    def score_one(self, x: float) -> float:
        """How many robust standard deviations `x` lies above the median; 0 before `warmup` values were learnt."""
        if len(self._window) < self._warmup:
            return 0.0
        _, lower, median, upper, _ = self._quantiles()
        deviation = max((upper - lower) / IQR_OF_NORMAL, self._relative_floor * abs(median), self._absolute_floor)
        return max(0.0, (x - median) / deviation) if deviation else float(x > median) * LARGEST_SCORE

    def learn_one(self, x: float) -> None:
        """Add `x` to the window; the oldest value leaves it."""
        self._window.append(x)
        self._summary = None

    def expected(self) -> tuple[float, float]:
        """The window's 5th and 95th percentile."""
        low, _, _, _, high = self._quantiles()
        return low, high

    def _quantiles(self) -> tuple[float, float, float, float, float]:
        if self._summary is None:
            values = np.array(self._window) if self._window else np.zeros(1)
            low, lower, median, upper, high = (float(q) for q in np.percentile(values, (5, 25, 50, 75, 95)))
            self._summary = (low, lower, median, upper, high)
        return self._summary


LARGEST_SCORE = 1e6
"""Of a value above a window of zeros, whose standard deviation is zero."""
