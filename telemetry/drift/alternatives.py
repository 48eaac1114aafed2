"""What a drifted distribution may look like: a fixed, weighted family of each kind of histogram.

A test that bets on them (`telemetry.drift.change_test`) has power where one of them is near; which they are never makes
a false alarm more likely.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

SHIFTS = (0.25, 0.5, 1.0, 1.5, 2.5)
"""Standard deviations by which a level may move, either way."""
SPREADS = (0.5, 0.7, 1.4, 2.0, 3.0)
"""Factors by which a standard deviation may change."""
CONCENTRATIONS = (0.1, 0.3, 0.8)
"""Shares of the rows that may fall into one bin, beside what did."""
LOSSES = {0.02: 0.15, 0.03: 0.3, 0.05: 0.25, 0.1: 0.15, 0.2: 0.1, 0.5: 0.05}
"""What may be added to a share that should be small, and how much is bet on it."""


@dataclass(frozen=True, kw_only=True)
class Alternatives:
    """Distributions over the same bins, with what is bet on each; the rest is bet on no form in particular."""

    shares: NDArray[np.float64]
    """[alternatives, bins]; each row sums to 1."""
    weights: NDArray[np.float64]
    """[alternatives]; at most 1 together."""


def of_levels(shares: NDArray[np.float64]) -> Alternatives:
    """Of a histogram of numbers, whose bins hold these `shares`: moved, spread, narrowed, or piled up in one bin.

    Moved and spread are exponential tilts by the bins' normal scores: exactly what a normal distribution becomes.
    """
    score = normal_scores(shares)
    moved = [_tilted(shares, sign * shift * score) for shift in SHIFTS for sign in (-1, 1)]
    spread = [_tilted(shares, score**2 / 2 * (1 - factor**-2)) for factor in SPREADS]
    return _weighted((moved, 0.45), (spread, 0.15), (_piled_up(shares), 0.2))


def of_categories(shares: NDArray[np.float64]) -> Alternatives:
    """Of a histogram of categories: one of them grows, or all but vanishes."""
    vanished = []
    for bin_ in range(len(shares)):
        less = shares.copy()
        less[bin_] *= 0.1
        vanished.append(_whole(less))
    return _weighted((_piled_up(shares), 0.5), (vanished, 0.2))


def of_losses(shares: NDArray[np.float64]) -> Alternatives:
    """Of two bins, good and bad: the bad one grows."""
    bad = np.minimum(shares[1] + np.array(list(LOSSES)), 1 - shares[0] / 10)
    return Alternatives(shares=np.stack([1 - bad, bad], axis=1), weights=np.array(list(LOSSES.values())))


def normal_scores(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of a standard normal variable within each bin, where the bins hold these shares of it: [bins]."""
    edges = ndtri(np.clip(np.cumsum(shares)[:-1], 1e-12, 1 - 1e-12))
    density = np.concatenate([[0.0], np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi), [0.0]])
    scores: NDArray[np.float64] = (density[:-1] - density[1:]) / np.maximum(shares, 1e-12)
    return np.clip(scores, -8, 8)


def _piled_up(shares: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    in_one = np.eye(len(shares))
    return [(1 - share) * shares + share * in_one[bin_] for share in CONCENTRATIONS for bin_ in range(len(shares))]


def _tilted(shares: NDArray[np.float64], exponent: NDArray[np.float64]) -> NDArray[np.float64]:
    return _whole(shares * np.exp(exponent - exponent.max()))


def _whole(masses: NDArray[np.float64]) -> NDArray[np.float64]:
    whole: NDArray[np.float64] = masses / masses.sum()
    return whole


def _weighted(*families: tuple[Sequence[NDArray[np.float64]], float]) -> Alternatives:
    """Each family's weight is shared equally among its members."""
    return Alternatives(
        shares=np.stack([each for members, _ in families for each in members]),
        weights=np.concatenate([np.full(len(members), weight / len(members)) for members, weight in families]),
    )
