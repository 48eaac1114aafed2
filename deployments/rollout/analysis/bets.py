"""Bets on numbers in [0, 1] whose mean is at most what is said of it, given all that came before.

A bet that stakes a fixed share of the wealth is a nonnegative supermartingale, and so is the mean of several of them
(Waudby-Smith & Ramdas 2024, arXiv:2010.09686): nothing else is assumed, so that one number may stand for a whole window
whose requests hang together in any way.
"""

import numpy as np
from numpy.typing import ArrayLike

from deployments.rollout.analysis.counts import Floats

_STAKES = np.array([0.25, 0.5, 0.75, 0.95])
_PAIR_STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.8])


def gains(numbers: ArrayLike, means: ArrayLike) -> Floats:
    """Nats that each stake wins, [numbers] -> [numbers, stakes]; `means` are the largest that are not bet against."""
    ratio = np.asarray(numbers, np.float64) / np.asarray(means, np.float64)
    won: Floats = np.log1p(_STAKES * (ratio[:, None] - 1.0))
    return won


def wealth(summed_gains: Floats) -> Floats:
    """Nats that all stakes have won together, [..., stakes] -> [...]."""
    summed: Floats = np.logaddexp.reduce(summed_gains, axis=-1) - np.log(summed_gains.shape[-1])
    return summed


def paired(counts: ArrayLike, margin: float) -> Floats:
    """Nats against `share worse - share better <= margin` of rows, in each of which one arm did worse, better or alike.

    `counts` are rows worse, rows better, all rows, [..., 3] -> [...].
    """
    return np.maximum(wealth(paired_gains(counts, margin)), 0.0)


def paired_gains(counts: ArrayLike, margin: float) -> Floats:
    """Nats that each stake on a row's difference, which lies in [-1, 1], has won, [..., 3] -> [..., stakes]."""
    lost, won, rows = np.moveaxis(np.asarray(counts, np.float64)[..., None], -2, 0)
    stakes = _PAIR_STAKES / (1 + margin)
    nats: Floats = lost * np.log1p(stakes * (1 - margin)) + won * np.log1p(-stakes * (1 + margin))
    nats += (rows - lost - won) * np.log1p(-stakes * margin)
    return nats
