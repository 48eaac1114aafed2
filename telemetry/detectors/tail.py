"""How improbable a large number is, by what the largest of a window were."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from telemetry.detectors.window import SortedWindow

FEWEST = 10
"""Numbers that a tail is fitted to, at least; none is, from a window of fewer than twice as many."""
MOST_DIGITS = 40.0
"""What an improbability counts as at most, such as that of what differs where nothing ever has."""


@dataclass(frozen=True)
class Tail:
    """The generalised Pareto distribution of what exceeds `start`, which a number does with probability `share`.

    It is the limit of whatever distribution's tail (Pickands 1975, doi:10.1214/aos/1176343003), so it tells how
    improbable numbers are that were never seen (Siffer et al. 2017, KDD, doi:10.1145/3097983.3098144).
    """

    start: float
    share: float
    shape: float
    scale: float

    def improbability(self, x: float) -> float:
        """-log10 of the probability of `x` or more; 0 where `x` is not in the tail."""
        excess = x - self.start
        if excess <= 0:
            return 0.0
        if not self.scale:
            return MOST_DIGITS
        lengths = excess / self.scale
        decay = math.log1p(self.shape * lengths) / self.shape if self.shape else lengths
        return min((decay - math.log(self.share)) / math.log(10), MOST_DIGITS)

    def exceeded_with(self, rate: float) -> float:
        """The number that is exceeded with probability `rate`, which is less than `share`."""
        odds = math.log(self.share / rate)
        return self.start + self.scale * (math.expm1(self.shape * odds) / self.shape if self.shape else odds)


def tail_of(window: SortedWindow, share: float, side: Literal["above", "below"] = "above") -> Tail | None:
    """Fit the largest `share` of the window, or the negatives of its smallest; None while it holds too few.

    By probability-weighted moments (Hosking & Wallis 1987, doi:10.1080/00401706.1987.10488243), which need no
    iteration. The shape is kept within [0, 1/2]: that a tail ends cannot be told from so few, nor that it has no
    variance.
    """
    num = len(window)
    if num < 2 * FEWEST:
        return None
    share = max(share, FEWEST / num)
    if side == "above":
        start = window.quantile(1 - share)
        excesses = [x - start for x in window.above(start)]
    else:
        start = -window.quantile(share)
        excesses = [-x - start for x in reversed(window.below(-start))]
    if not excesses:
        return Tail(start, 1 / num, 0.0, 0.0)
    shape, scale = pareto(excesses)
    return Tail(start, len(excesses) / num, shape, scale)


def pareto(excesses: Sequence[float]) -> tuple[float, float]:
    """Shape and scale of the generalised Pareto distribution of `excesses`, which are ascending."""
    num = len(excesses)
    mean = sum(excesses) / num
    weighted = sum(y * (num - place - 0.65) for place, y in enumerate(excesses)) / num**2
    shape = 2 - mean / (mean - 2 * weighted) if mean > 2 * weighted else 0.5
    shape = min(max(shape, 0.0), 0.5)
    return shape, mean * (1 - shape)
