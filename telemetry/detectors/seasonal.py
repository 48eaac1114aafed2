"""How unusual a number is for the time of day and of week."""

from collections import deque
from statistics import median

from telemetry.detectors.detector import LARGEST_SCORE, State, numbers, require_finite
from telemetry.detectors.season import MAD_OF_NORMAL, Past, Season

FEWEST_SURPRISES, MOST_SURPRISES = 10, 200
"""Stretches after which it is known how far one day differs from the next, and how many are remembered."""


class Seasonal:
    """Distance from what is usual now / max(threshold spreads, least ratio x |usual|, least shift), both sides.

    What is usual `Season` knows, from the fourth day on. The spread is the largest of that within the stretch of the
    day, between its days, and between all stretches and what was expected of them. Ten of them, since they are known
    from few days, are passed by fewer than 1 of 1,000 values.
    """

    def __init__(
        self, *, num_stretches: int = 48, threshold: float = 10.0, least_ratio: float = 0.1, least_shift: float = 0.0
    ) -> None:
        self._threshold = threshold
        self._least_ratio = least_ratio
        self._least_shift = least_shift
        self._season = Season(num_stretches)
        self._surprises: deque[float] = deque(maxlen=MOST_SURPRISES)

    def score_one(self, x: float, time_s: float) -> float:
        """How far `x` is from what this time usually brings, 1.0 at the threshold; 0 while that is not known."""
        require_finite(x, time_s)
        past = self._season.past(time_s)
        if past is None or len(self._surprises) < FEWEST_SURPRISES:
            return 0.0
        distance, limit = abs(x - past.usual()), self._limit(past)
        return min(distance / limit, LARGEST_SCORE) if limit else LARGEST_SCORE * (distance > 0)

    def learn_one(self, x: float, time_s: float) -> None:
        """Let `x` count towards its time's mean, which is remembered once another time has come."""
        require_finite(x, time_s)
        surprise = self._season.add(x, time_s)
        if surprise is not None:
            self._surprises.append(surprise)

    def expected(self, time_s: float) -> tuple[float, float]:
        """Within the limit of what is usual at this time; 0 while that is not known."""
        past = self._season.past(time_s)
        if past is None:
            return 0.0, 0.0
        usual, limit = past.usual(), self._limit(past)
        return usual - limit, usual + limit

    def state(self) -> State:
        """The season, and the surprises."""
        return {"season": self._season.state(), "surprises": list(self._surprises)}

    def restore(self, state: State) -> None:
        """Take both up again."""
        surprises = numbers(state, "surprises")
        self._season.restore(state.get("season") or {})
        self._surprises.clear()
        self._surprises.extend(surprises)

    def _limit(self, past: Past) -> float:
        between_all = MAD_OF_NORMAL * median(self._surprises) if self._surprises else 0.0
        spread = max(past.within(), past.between(), between_all)
        return max(self._threshold * spread, self._least_ratio * abs(past.usual()), self._least_shift)
