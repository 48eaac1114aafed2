"""How far counts by bin lie from a reference: PSI and KS, and how far chance alone would bring them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri

_EMPTY = 0.5
"""Rows that an empty bin counts as, so that a logarithm exists."""


def shares(counts: ArrayLike) -> NDArray[np.float64]:
    """What part of the rows each bin holds, none of them 0: [bins]."""
    held = np.asarray(counts, np.float64) + _EMPTY
    whole: NDArray[np.float64] = held / held.sum()
    return whole


def psi(reference: ArrayLike, counts: ArrayLike) -> float:
    """Population stability index: the two directions of relative entropy together (Jeffreys 1946); 0 where they agree.

    By custom 0.1 is worth a look and 0.25 is a drift, whatever the number of rows; `psi_by_chance` knows it.
    """
    before, now = shares(reference), shares(counts)
    return float(np.sum((now - before) * np.log(now / before)))


def psi_by_chance(num_reference: float, num_rows: float, num_bins: int, level: float = 0.01) -> float:
    """What the PSI of two samples of one distribution exceeds with probability `level`.

    It is chi-squared with `num_bins - 1` degrees of freedom, times `1/n + 1/m` (Yurdakul & Naranjo 2020,
    doi:10.21314/JRMV.2020.227).
    """
    return float(chdtri(num_bins - 1, level) * (1 / num_reference + 1 / num_rows))


def ks(reference: ArrayLike, counts: ArrayLike) -> float:
    """Kolmogorov-Smirnov distance between the two, at the bins' edges: in [0, 1]."""
    before, now = np.asarray(reference, np.float64), np.asarray(counts, np.float64)
    if before.sum() == 0 or now.sum() == 0:
        return 0.0
    apart = np.cumsum(before) / before.sum() - np.cumsum(now) / now.sum()
    return float(np.abs(apart).max())


def ks_by_chance(num_reference: float, num_rows: float, level: float = 0.01) -> float:
    """What the KS of two samples of one distribution exceeds with probability `level` at most (Smirnov 1948)."""
    return min(1.0, float(np.sqrt(np.log(2 / level) / 2 * (1 / num_reference + 1 / num_rows))))
