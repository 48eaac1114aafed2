"""How far a rate or a count has fallen below what it was."""

import math

from telemetry.detectors.detector import DetectorError, State, numbers, require_finite
from telemetry.detectors.window import SortedWindow


class Drop:
    """Fall of the square root below its median / max(threshold x deviation, the fall to `1 - least_ratio`), at least 0.

    The square root of a count spreads equally whatever its mean (Anscombe 1948, doi:10.1093/biomet/35.3-4.246): what is
    learnt at high load holds at low. Six robust standard deviations are passed by 1 in 10^9 of normal values; the rest
    of the promised 1 in 1,000 is for tails as heavy as Student's t with 4 degrees of freedom.
    """

    def __init__(
        self, *, window: int = 300, warmup: int = 30, threshold: float = 6.0, least_ratio: float = 0.5
    ) -> None:
        self._roots = SortedWindow(window)
        self._warmup = warmup
        self._threshold = threshold
        self._kept = math.sqrt(1 - least_ratio)

    def score_one(self, x: float, time_s: float) -> float:
        """How far `x` has fallen, 1.0 at the threshold; 0 before `warmup` values were learnt."""
        _require_count(x, time_s)
        if len(self._roots) < self._warmup:
            return 0.0
        median = self._roots.quantile(0.5)
        limit = max(self._threshold * self._roots.deviation("below"), median * (1 - self._kept))
        return max(0.0, median - math.sqrt(x)) / limit if limit else 0.0

    def learn_one(self, x: float, time_s: float) -> None:
        """Add `x` to the window; the oldest value leaves it."""
        _require_count(x, time_s)
        self._roots.add(math.sqrt(x))

    def expected(self, time_s: float) -> tuple[float, float]:  # noqa: ARG002 - the same at all times
        """The window's 5th and 95th percentile."""
        return self._roots.quantile(0.05) ** 2, self._roots.quantile(0.95) ** 2

    def state(self) -> State:
        """The window, as square roots."""
        return {"roots": list(self._roots)}

    def restore(self, state: State) -> None:
        """Take the window up again."""
        self._roots.replace(numbers(state, "roots"))


def _require_count(x: float, time_s: float) -> None:
    require_finite(x, time_s)
    if x < 0:
        raise DetectorError(f"a rate or a count must be at least 0, got {x}")
