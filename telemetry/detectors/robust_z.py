"""How many robust standard deviations a number lies away from a sliding window's median."""

from telemetry.detectors.detector import LARGEST_SCORE, State, numbers, require_finite
from telemetry.detectors.window import Side, SortedWindow


class RobustZScore:
    """Distance from the median / max(threshold x deviation, least ratio x |median|, least shift), not below 0.

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
        self._window = SortedWindow(window)
        self._warmup = warmup
        self._threshold = threshold
        self._least_ratio = least_ratio
        self._least_shift = least_shift
        self._side = side

    def score_one(self, x: float, time_s: float) -> float:
        """How far `x` lies from the median, 1.0 at the threshold; 0 before `warmup` values were learnt."""
        require_finite(x, time_s)
        if len(self._window) < self._warmup:
            return 0.0
        median = self._window.quantile(0.5)
        distance = {"above": x - median, "below": median - x, "both": abs(x - median)}[self._side]
        if distance <= 0:
            return 0.0
        limit = max(
            self._threshold * self._window.deviation(self._side), self._least_ratio * abs(median), self._least_shift
        )
        return min(distance / limit, LARGEST_SCORE) if limit else LARGEST_SCORE

    def learn_one(self, x: float, time_s: float) -> None:
        """Add `x` to the window; the oldest value leaves it."""
        require_finite(x, time_s)
        self._window.add(x)

    def expected(self, time_s: float) -> tuple[float, float]:  # noqa: ARG002 - the same at all times
        """The window's 5th and 95th percentile."""
        return self._window.quantile(0.05), self._window.quantile(0.95)

    def state(self) -> State:
        """The window."""
        return {"window": list(self._window)}

    def restore(self, state: State) -> None:
        """Take the window up again."""
        self._window.replace(numbers(state, "window"))
