"""Whether a number lies beyond what the tail of past ones lets expect: SPOT, with drift taken out (DSPOT)."""

from typing import Literal

from telemetry.detectors.detector import LARGEST_SCORE, State, numbers, require_finite
from telemetry.detectors.tail import tail_of
from telemetry.detectors.window import SortedWindow

SHARE = 0.1
"""Share of the window to which the tail is fitted."""
REFIT_EVERY = 20
"""Values learnt between two fits."""


class Spike:
    """Distance from the local median over the distance that is exceeded with probability `rate`.

    That distance is extrapolated from the window's tail (Siffer et al. 2017, KDD, doi:10.1145/3097983.3098144), so that
    heavy tails are not taken for spikes nor light ones for quiet. As it is itself uncertain, up to ten times `rate` is
    what is promised.
    """

    def __init__(
        self,
        *,
        rate: float = 1e-4,
        window: int = 1000,
        warmup: int = 100,
        local: int = 20,
        least_shift: float = 0.0,
        side: Literal["above", "below"] = "above",
    ) -> None:
        self._rate = rate
        self._warmup = warmup
        self._least_shift = least_shift
        self._sign = 1.0 if side == "above" else -1.0
        self._local = SortedWindow(local)
        self._distances = SortedWindow(window)
        self._limit = 0.0
        self._num_since_fit = 0

    def score_one(self, x: float, time_s: float) -> float:
        """How far `x` lies from the local median, 1.0 at the limit; 0 before `warmup` values were learnt."""
        require_finite(x, time_s)
        if len(self._distances) < self._warmup:
            return 0.0
        distance = self._distance(x)
        if distance <= 0:
            return 0.0
        limit = max(self._limit, self._least_shift)
        return min(distance / limit, LARGEST_SCORE) if limit > 0 else LARGEST_SCORE

    def learn_one(self, x: float, time_s: float) -> None:
        """Let `x` count towards the tail and the local median."""
        require_finite(x, time_s)
        if len(self._local):
            self._distances.add(self._distance(x))
        self._local.add(x)
        self._num_since_fit += 1
        if len(self._distances) == self._warmup or self._num_since_fit >= REFIT_EVERY:
            self._fit()

    def expected(self, time_s: float) -> tuple[float, float]:  # noqa: ARG002 - the same at all times
        """Between the local median and the limit, or the other way round."""
        median = self._local.quantile(0.5)
        limit = median + self._sign * max(self._limit, self._least_shift)
        return min(median, limit), max(median, limit)

    def state(self) -> State:
        """Both windows, and the limit with what was learnt since it was fitted."""
        return {
            "local": list(self._local),
            "distances": list(self._distances),
            "fit": [self._limit, self._num_since_fit],
        }

    def restore(self, state: State) -> None:
        """Take the windows up again."""
        local, distances = numbers(state, "local"), numbers(state, "distances")
        self._limit, num_since_fit = numbers(state, "fit", num=2)
        self._num_since_fit = int(num_since_fit)
        self._local.replace(local)
        self._distances.replace(distances)

    def _distance(self, x: float) -> float:
        return self._sign * (x - self._local.quantile(0.5))

    def _fit(self) -> None:
        self._num_since_fit = 0
        tail = tail_of(self._distances, SHARE)
        self._limit = tail.exceeded_with(self._rate) if tail else 0.0
