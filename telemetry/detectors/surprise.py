"""How surprising a number is of which nothing is known but its past: for gauges of whatever kind."""

import math
from collections import deque
from dataclasses import astuple

from telemetry.detectors.detector import FALSE_ALARM_RATE, State, numbers, require_finite
from telemetry.detectors.season import Season
from telemetry.detectors.tail import Tail, tail_of
from telemetry.detectors.window import SortedWindow

NUM_STRETCHES = 48
"""Stretches of a day, each with a mean of its own."""
SHARE = 0.05
"""Share of a window to which each of its tails is fitted."""
REFIT_EVERY = 10
"""Values learnt between two fits."""


class Surprise:
    """Evidence that a value is of the past's distribution no more: of itself, and of the last `lasting` values' mean.

    The value is held against those of the window; the mean of the last values' departures from what their time of day
    and week usually brings, against what such means have been. Each side's improbability is extrapolated from its tail
    (`Tail`), doubled as there are two sides, and the two p-values are multiplied (Fisher 1925): the score is the
    logarithm of the product over that of the product which two independent ones fall below with probability `rate`. So
    a spike is found by the first kind of evidence, a lasting shift by the second, and a strange hour of a rhythm by the
    second where the first sees nothing; units, scale and tails need not be known.

    Departures are small once the value scored is: what returns to where it was is no surprise, though nothing was
    learnt since.
    """

    def __init__(
        self, *, rate: float = FALSE_ALARM_RATE, window: int = 4000, warmup: int = 100, lasting: int = 15
    ) -> None:
        self._digits = digits_of_two(rate)
        self._warmup = warmup
        self._values = _Scale(window, warmup)
        self._means = _Scale(window, warmup)
        self._departures: deque[float] = deque(maxlen=lasting - 1)
        self._season = Season(NUM_STRETCHES)

    def score_one(self, x: float, time_s: float) -> float:
        """How surprising `x` is, 1.0 at the threshold; 0 before `warmup` values were learnt."""
        require_finite(x, time_s)
        digits = self._values.improbability(x)
        departure = self._departure(x, time_s)
        if departure is not None:
            digits += self._means.improbability(_nearer(self._mean_with(departure), departure))
        return digits / self._digits

    def learn_one(self, x: float, time_s: float) -> None:
        """Let `x` count towards both windows and its time of day and week."""
        require_finite(x, time_s)
        departure = self._departure(x, time_s)
        if departure is not None:
            self._means.add(self._mean_with(departure))
            self._departures.append(departure)
        self._values.add(x)
        self._season.add(x, time_s)

    def expected(self, time_s: float) -> tuple[float, float]:  # noqa: ARG002 - that of the value by itself
        """Beyond which a value is surprising enough by itself."""
        return self._values.within(10**-self._digits)

    def state(self) -> State:
        """Both windows with the tails fitted to them, the last departures, and the season."""
        return {
            "values": self._values.state(),
            "means": self._means.state(),
            "departures": list(self._departures),
            "season": self._season.state(),
        }

    def restore(self, state: State) -> None:
        """Take all of it up again."""
        departures = numbers(state, "departures")
        self._values.restore(state.get("values") or {})
        self._means.restore(state.get("means") or {})
        self._season.restore(state.get("season") or {})
        self._departures.clear()
        self._departures.extend(departures)

    def _departure(self, x: float, time_s: float) -> float | None:
        past = self._season.past(time_s)
        return None if past is None else x - past.usual()

    def _mean_with(self, departure: float) -> float:
        return (sum(self._departures) + departure) / (len(self._departures) + 1)


class _Scale:
    """A window of numbers and its two tails, which tell how improbable a number is."""

    def __init__(self, size: int, warmup: int) -> None:
        self._window = SortedWindow(size)
        self._warmup = warmup
        self._above: Tail | None = None
        self._below: Tail | None = None
        self._num_since_fit = 0

    def improbability(self, x: float) -> float:
        """-log10 of the p-value, two-sided; 0 where `x` is in neither tail."""
        if self._above is None or self._below is None:
            return 0.0
        one_sided = max(self._above.improbability(x), self._below.improbability(-x))
        return max(0.0, one_sided - math.log10(2))

    def within(self, rate: float) -> tuple[float, float]:
        """Where all numbers but `rate` of them lie; between 5 and 95 % of the window while no tails are known."""
        if self._above is None or self._below is None:
            return self._window.quantile(0.05), self._window.quantile(0.95)
        return -self._below.exceeded_with(rate / 2), self._above.exceeded_with(rate / 2)

    def add(self, x: float) -> None:
        self._window.add(x)
        self._num_since_fit += 1
        if len(self._window) >= self._warmup and (self._above is None or self._num_since_fit >= REFIT_EVERY):
            self._num_since_fit = 0
            self._above, self._below = tail_of(self._window, SHARE), tail_of(self._window, SHARE, "below")

    def state(self) -> State:
        tails = [astuple(tail) for tail in (self._above, self._below) if tail is not None]
        return {
            "window": list(self._window),
            "tails": [x for tail in tails for x in tail],
            "fit": [self._num_since_fit],
        }

    def restore(self, state: State) -> None:
        window, (num_since_fit,) = numbers(state, "window"), numbers(state, "fit", num=1)
        tails = numbers(state, "tails", num=8) if state.get("tails") else []
        self._window.replace(window)
        self._above, self._below = (Tail(*tails[:4]), Tail(*tails[4:])) if tails else (None, None)
        self._num_since_fit = int(num_since_fit)


def digits_of_two(rate: float) -> float:
    """-log10 of k, where the product of two independent p-values is k or less with probability `rate`.

    That is k (1 - ln k) (Fisher 1925, Statistical Methods for Research Workers, 21.1).
    """
    product = rate
    for _ in range(50):
        product = rate / (1 - math.log(product))
    return -math.log10(product)


def _nearer(mean: float, departure: float) -> float:
    """The one of the two that is nearer to 0; 0 if they lie on both sides of it."""
    if mean * departure <= 0:
        return 0.0
    return min(mean, departure, key=abs)
