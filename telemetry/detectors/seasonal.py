"""How unusual a number is for the time of day and of week, learnt slowly."""

import math
from collections import deque
from statistics import median

from telemetry.detectors.detector import LARGEST_SCORE, DetectorError, State, numbers, require_finite

DAY_S, DAYS = 86400.0, 7
VISITS = 8
"""Days, or weeks, that are remembered of each time of day, or of week."""
MAD_OF_NORMAL = 1.4826
"""Standard deviation of the normal distribution over its median absolute deviation."""
FEWEST_SURPRISES, MOST_SURPRISES = 10, 200
"""Visits after which it is known how far one day differs from the next, and how many are remembered."""


class Seasonal:
    """Distance from what is usual now / max(threshold spreads, least ratio x |usual|, least shift), both sides.

    A day has `num_bins` stretches. The mean of each is kept for the last eight days, and by weekday for the last eight
    weeks; their median is what is usual, so that one bad day of three changes nothing. (Medians over cycles are the
    robust half of STL, Cleveland et al. 1990, J. Official Statistics 6:3.) A weekday's own past counts once it has two
    weeks; until then the day's, which needs two days; until then nothing is unusual. The spread is the largest of that
    within the stretch, between its days, and between all stretches and what was expected of them. Ten of them, since
    they are known from few days, are passed by fewer than 1 of 1,000 values. Times are UTC.
    """

    def __init__(
        self, *, num_bins: int = 48, threshold: float = 10.0, least_ratio: float = 0.1, least_shift: float = 0.0
    ) -> None:
        self._num_bins = num_bins
        self._threshold = threshold
        self._least_ratio = least_ratio
        self._least_shift = least_shift
        self._days: dict[int, _Past] = {}
        self._weeks: dict[int, _Past] = {}
        self._surprises: deque[float] = deque(maxlen=MOST_SURPRISES)
        self._visit = _Visit()

    def score_one(self, x: float, time_s: float) -> float:
        """How far `x` is from what this time usually brings, 1.0 at the threshold; 0 while that is not known."""
        require_finite(x, time_s)
        past = self._past(self._stretch(time_s))
        if past is None or len(self._surprises) < FEWEST_SURPRISES:
            return 0.0
        distance, limit = abs(x - past.usual()), self._limit(past)
        return min(distance / limit, LARGEST_SCORE) if limit else LARGEST_SCORE * (distance > 0)

    def learn_one(self, x: float, time_s: float) -> None:
        """Let `x` count towards its time's mean, which is remembered once another time has come."""
        require_finite(x, time_s)
        stretch = self._stretch(time_s)
        if self._visit.num and stretch != self._visit.stretch:
            self._remember(self._visit)
            self._visit = _Visit()
        self._visit.add(x, stretch)

    def expected(self, time_s: float) -> tuple[float, float]:
        """Within the limit of what is usual at this time; the mean of the last stretch while that is not known."""
        past = self._past(self._stretch(time_s))
        if past is None:
            return self._visit.mean, self._visit.mean
        usual, limit = past.usual(), self._limit(past)
        return usual - limit, usual + limit

    def state(self) -> State:
        """Means and standard deviations by time of day and of week, surprises, and the stretch not yet over."""
        visit = self._visit
        return {
            "days": {str(place): past.state() for place, past in self._days.items()},
            "weeks": {str(place): past.state() for place, past in self._weeks.items()},
            "surprises": list(self._surprises),
            "visit": [visit.stretch, visit.num, visit.mean, visit.squares],
        }

    def restore(self, state: State) -> None:
        """Take all of it up again."""
        stretch, num, mean, squares = numbers(state, "visit", num=4)
        surprises = numbers(state, "surprises")
        self._days, self._weeks = (_restored(state, name) for name in ("days", "weeks"))
        self._surprises.clear()
        self._surprises.extend(surprises)
        self._visit = _Visit(int(stretch), int(num), mean, squares)

    def _stretch(self, time_s: float) -> int:
        """Which stretch since 1970 it is."""
        return math.floor(time_s / DAY_S * self._num_bins)

    def _past(self, stretch: int) -> "_Past | None":
        by_week = self._weeks.get(stretch % (DAYS * self._num_bins))
        past = by_week if by_week is not None and len(by_week.means) > 1 else self._days.get(stretch % self._num_bins)
        return past if past is not None and len(past.means) > 1 else None

    def _limit(self, past: "_Past") -> float:
        between_all = MAD_OF_NORMAL * median(self._surprises) if self._surprises else 0.0
        spread = max(past.within(), past.between(), between_all)
        return max(self._threshold * spread, self._least_ratio * abs(past.usual()), self._least_shift)

    def _remember(self, visit: "_Visit") -> None:
        past = self._past(visit.stretch)
        if past is not None:
            self._surprises.append(abs(visit.mean - past.usual()))
        deviation = math.sqrt(visit.squares / max(visit.num - 1, 1))
        for pasts, num in ((self._days, self._num_bins), (self._weeks, DAYS * self._num_bins)):
            pasts.setdefault(visit.stretch % num, _Past()).add(visit.mean, deviation)


class _Visit:
    """The values of one stretch of one day (Welford 1962, doi:10.1080/00401706.1962.10490022)."""

    def __init__(self, stretch: int = 0, num: int = 0, mean: float = 0.0, squares: float = 0.0) -> None:
        self.stretch, self.num, self.mean, self.squares = stretch, num, mean, squares

    def add(self, x: float, stretch: int) -> None:
        self.stretch = stretch
        self.num += 1
        before = x - self.mean
        self.mean += before / self.num
        self.squares += before * (x - self.mean)


class _Past:
    """Means and standard deviations of one stretch on several days."""

    def __init__(self) -> None:
        self.means: deque[float] = deque(maxlen=VISITS)
        self.deviations: deque[float] = deque(maxlen=VISITS)

    def add(self, mean: float, deviation: float) -> None:
        self.means.append(mean)
        self.deviations.append(deviation)

    def usual(self) -> float:
        return median(self.means)

    def within(self) -> float:
        """Root mean square of all deviations but the largest."""
        kept = sorted(self.deviations)[:-1]
        return math.sqrt(sum(deviation**2 for deviation in kept) / len(kept))

    def between(self) -> float:
        usual = self.usual()
        return MAD_OF_NORMAL * median(abs(mean - usual) for mean in self.means)

    def state(self) -> State:
        return {"means": list(self.means), "deviations": list(self.deviations)}


def _restored(state: State, name: str) -> dict[int, _Past]:
    found = state.get(name)
    if not isinstance(found, dict):
        raise DetectorError(f"state.{name} must hold means and deviations by time, got {found!r:.80}; learn anew")
    pasts: dict[int, _Past] = {}
    for place, kept in found.items():
        past = pasts[int(place)] = _Past()
        for mean, deviation in zip(numbers(kept, "means"), numbers(kept, "deviations"), strict=True):
            past.add(mean, deviation)
    return pasts
