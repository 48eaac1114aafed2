"""How many robust standard deviations a number lies away from a sliding window's median."""

from collections import deque
from typing import Literal

import numpy as np

from telemetry.detectors.detector import State, numbers, require_finite

IQR_OF_NORMAL = 1.349
"""Interquartile range of the standard normal distribution."""
LARGEST_SCORE = 1e6
"""Of a value away from a window of equal values, where no least shift is set."""

Side = Literal["above", "below", "both"]


class RobustZScore:
    """Distance from the median / max(threshold x IQR / 1.349, least ratio x |median|, least shift), not below 0.

    Median and quartiles ignore up to a quarter of outliers in the window (Iglewicz & Hoaglin 1993, How to Detect and
    Handle Outliers; Rousseeuw & Croux 1993, doi:10.1080/01621459.1993.10476408). At the default of 8 robust standard
    deviations, one side, fewer than 1 of 1,000 independent values is a false alarm even where tails are those of
    Student's t with 4 degrees of freedom; of normal ones, none in 10^9. The least ratio and shift are what must be
    exceeded after a quiet window too.
    """

    def __init__(
        self,
        *,
        window: int = 120,
        warmup: int = 10,
        threshold: float = 8.0,
        least_ratio: float = 2.0,
        least_shift: float = 0.0,
        side: Side = "above",
    ) -> None:
        self._window: deque[float] = deque(maxlen=window)
        self._warmup = warmup
        self._threshold = threshold
        self._least_ratio = least_ratio
        self._least_shift = least_shift
        self._side = side
        self._summary: tuple[float, float, float, float, float] | None = None

    def score_one(self, x: float, time_s: float) -> float:
        """How far `x` lies from the median, 1.0 at the threshold; 0 before `warmup` values were learnt."""
        require_finite(x, time_s)
        if len(self._window) < self._warmup:
            return 0.0
        _, lower, median, upper, _ = self._quantiles()
        distance = {"above": x - median, "below": median - x, "both": abs(x - median)}[self._side]
        if distance <= 0:
            return 0.0
        spread = self._threshold * (upper - lower) / IQR_OF_NORMAL
        limit = max(spread, self._least_ratio * abs(median), self._least_shift)
        return min(distance / limit, LARGEST_SCORE) if limit else LARGEST_SCORE

    def learn_one(self, x: float, time_s: float) -> None:
        """Add `x` to the window; the oldest value leaves it."""
        require_finite(x, time_s)
        self._window.append(x)
        self._summary = None

    def expected(self, time_s: float) -> tuple[float, float]:  # noqa: ARG002 - the same at all times
        """The window's 5th and 95th percentile."""
        low, _, _, _, high = self._quantiles()
        return low, high

    def state(self) -> State:
        """The window."""
        return {"window": list(self._window)}

    def restore(self, state: State) -> None:
        """Take the window up again."""
        self._window = deque(numbers(state, "window"), maxlen=self._window.maxlen)
        self._summary = None

    def _quantiles(self) -> tuple[float, float, float, float, float]:
        if self._summary is None:
            values = np.array(self._window) if self._window else np.zeros(1)
            low, lower, median, upper, high = (float(q) for q in np.percentile(values, (5, 25, 50, 75, 95)))
            self._summary = (low, lower, median, upper, high)
        return self._summary
