"""What each time of day and of week usually brings, learnt slowly."""

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

from telemetry.detectors.detector import DetectorError, State, numbers

DAY_S, DAYS = 86400.0, 7
MOST_VISITS, FEWEST_VISITS = 8, 3
"""Days, or weeks, that are remembered of each stretch, and from how many on it is known what it brings."""
MAD_OF_NORMAL = 1.4826
"""Standard deviation of the normal distribution over its median absolute deviation."""


class Season:
    """Means and deviations of the stretches of a day, of which there are `num_stretches`, each on its last days.

    A day's are kept for eight days, and by weekday for eight weeks; the median of the means is what is usual, so that
    one bad day of three changes nothing. (Medians over cycles are the robust half of STL, Cleveland et al. 1990, J.
    Official Statistics 6:3.) A weekday's own past counts once it has three weeks, until then the day's, which needs
    three days. Times are UTC.
    """

    def __init__(self, num_stretches: int) -> None:
        self._num = num_stretches
        self._by_day: dict[int, Past] = {}
        self._by_week: dict[int, Past] = {}
        self._visit = _Visit()

    def past(self, time_s: float) -> "Past | None":
        """Of the stretch in which `time_s` lies; None while it is not known."""
        stretch = self._stretch(time_s)
        for pasts, place in self._pasts(stretch):
            if place in pasts and len(pasts[place].means) >= FEWEST_VISITS:
                return pasts[place]
        return None

    def add(self, x: float, time_s: float) -> float | None:
        """Let `x` count towards its stretch; if the one before ended by this, how far it lay from what was usual."""
        stretch = self._stretch(time_s)
        surprise = None
        if self._visit.num and stretch != self._visit.stretch:
            surprise = self._remember(self._visit)
            self._visit = _Visit()
        self._visit.add(x, stretch)
        return surprise

    def state(self) -> State:
        """All of it, and the stretch that has not ended."""
        visit = self._visit
        return {
            "by_day": {str(place): past.state() for place, past in self._by_day.items()},
            "by_week": {str(place): past.state() for place, past in self._by_week.items()},
            "visit": [visit.stretch, visit.num, visit.mean, visit.squares],
        }

    def restore(self, state: State) -> None:
        """Take it up again.

        Raises:
            DetectorError: it is not what `state` returned.
        """
        stretch, num, mean, squares = numbers(state, "visit", num=4)
        self._by_day, self._by_week = (_restored(state, name) for name in ("by_day", "by_week"))
        self._visit = _Visit(int(stretch), int(num), mean, squares)

    def _stretch(self, time_s: float) -> int:
        """Which stretch since 1970 it is."""
        return math.floor(time_s / DAY_S * self._num)

    def _pasts(self, stretch: int) -> "tuple[tuple[dict[int, Past], int], ...]":
        return (self._by_week, stretch % (DAYS * self._num)), (self._by_day, stretch % self._num)

    def _remember(self, visit: "_Visit") -> float | None:
        past = self.past((visit.stretch + 0.5) * DAY_S / self._num)
        surprise = abs(visit.mean - past.usual()) if past else None
        deviation = math.sqrt(visit.squares / max(visit.num - 1, 1))
        for pasts, place in self._pasts(visit.stretch):
            pasts.setdefault(place, Past()).add(visit.mean, deviation)
        return surprise


class Past:
    """Means and standard deviations of one stretch on several days."""

    def __init__(self) -> None:
        self.means: deque[float] = deque(maxlen=MOST_VISITS)
        self._deviations: deque[float] = deque(maxlen=MOST_VISITS)

    def add(self, mean: float, deviation: float) -> None:
        """Remember one more day; the oldest is forgotten."""
        self.means.append(mean)
        self._deviations.append(deviation)

    def usual(self) -> float:
        """The median of the means."""
        return median(self.means)

    def between(self) -> float:
        """By how much days differ: the robust standard deviation of the means."""
        usual = self.usual()
        return MAD_OF_NORMAL * median(abs(mean - usual) for mean in self.means)

    def within(self) -> float:
        """By how much values of one day differ: the root mean square of all deviations but the largest."""
        kept = sorted(self._deviations)[:-1]
        return math.sqrt(sum(deviation**2 for deviation in kept) / len(kept)) if kept else 0.0

    def state(self) -> State:
        """Both, the latest last."""
        return {"means": list(self.means), "deviations": list(self._deviations)}


@dataclass
class _Visit:
    """The values of one stretch of one day (Welford 1962, doi:10.1080/00401706.1962.10490022)."""

    stretch: int = 0
    num: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, x: float, stretch: int) -> None:
        self.stretch = stretch
        self.num += 1
        before = x - self.mean
        self.mean += before / self.num
        self.squares += before * (x - self.mean)


def _restored(state: State, name: str) -> dict[int, Past]:
    found = state.get(name)
    if not isinstance(found, dict) or not all(isinstance(kept, dict) for kept in found.values()):
        raise DetectorError(f"state.{name} must hold means and deviations by time, got {found!r:.80}; learn anew")
    pasts: dict[int, Past] = {}
    for place, kept in found.items():
        means = numbers(kept, "means")
        past = pasts[int(place)] = Past()
        for mean, deviation in zip(means, numbers(kept, "deviations", num=len(means)), strict=True):
            past.add(mean, deviation)
    return pasts
