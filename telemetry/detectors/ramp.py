"""Whether values have crept away from what they were, each step too small to be unusual by itself: CUSUM."""

from collections import deque
from typing import Literal

from telemetry.detectors.detector import State, numbers, require_finite
from telemetry.detectors.window import SortedWindow

LARGEST_STEP = 4.0
"""Standard deviations that one value counts as, at most: an outlier is no ramp."""


class Ramp:
    """The cumulative sum of standardised values less an allowance, over its limit.

    It is Page's (1954, doi:10.1093/biomet/41.1-2.100). A value is standardised by median and quartiles of a window that
    ends `lag` values ago, so that a ramp does not soon become its own measure. With an allowance of one deviation and
    a limit of 8, independent normal values reach it once in 40 million (Siegmund 1985, Sequential Analysis,
    eq. 2.56); as median and spread are estimated from the window, and tails may be heavier, 1 in 1,000 is what is
    promised. Give it averages at an even pace, such as one a minute: values of the same minute are seldom independent.

    What was learnt counts up to the limit and no further. So the score stays above 1 while values are as far away as
    they were, and falls below once a value is within an allowance of the median, even if nothing was learnt meanwhile.
    """

    def __init__(
        self,
        *,
        window: int = 240,
        lag: int = 30,
        warmup: int = 30,
        allowance: float = 1.0,
        limit: float = 8.0,
        least_ratio: float = 0.02,
        least_shift: float = 0.0,
        side: Literal["above", "below"] = "above",
    ) -> None:
        self._past = SortedWindow(window)
        self._lagging: deque[float] = deque()
        self._lag = lag
        self._warmup = warmup
        self._allowance = allowance
        self._limit = limit
        self._least_ratio = least_ratio
        self._least_shift = least_shift
        self._side = side
        self._sign = 1.0 if side == "above" else -1.0
        self._sum = 0.0

    def score_one(self, x: float, time_s: float) -> float:
        """The sum if `x` were added, 1.0 at the limit; 0 before `warmup` + `lag` values were learnt."""
        require_finite(x, time_s)
        return self._with(x) / self._limit

    def learn_one(self, x: float, time_s: float) -> None:
        """Add `x` to the sum, and to the window once it is `lag` values old."""
        require_finite(x, time_s)
        self._sum = min(self._with(x), self._limit)
        self._lagging.append(x)
        if len(self._lagging) > self._lag:
            self._past.add(self._lagging.popleft())

    def expected(self, time_s: float) -> tuple[float, float]:  # noqa: ARG002 - the same at all times
        """Within the allowance and three standard deviations of the median."""
        median, deviation = self._median_and_deviation()
        reach = (self._allowance + 2.0) * deviation
        return median - reach, median + reach

    def state(self) -> State:
        """The window, what is not yet in it, and the sum."""
        return {"past": list(self._past), "lagging": list(self._lagging), "sum": [self._sum]}

    def restore(self, state: State) -> None:
        """Take window and sum up again."""
        past, lagging, (self._sum,) = numbers(state, "past"), numbers(state, "lagging"), numbers(state, "sum", num=1)
        self._past.replace(past)
        self._lagging = deque(lagging[-self._lag :])

    def _with(self, x: float) -> float:
        if len(self._past) < self._warmup:
            return 0.0
        median, deviation = self._median_and_deviation()
        distance = self._sign * (x - median)
        steps = min(distance / deviation, LARGEST_STEP) if deviation else LARGEST_STEP * (distance > 0)
        return max(0.0, self._sum + steps - self._allowance)

    def _median_and_deviation(self) -> tuple[float, float]:
        """One standard deviation is at least the least shift and the least ratio."""
        median = self._past.quantile(0.5)
        deviation = max(self._past.deviation(self._side), self._least_ratio * abs(median), self._least_shift)
        return median, deviation
