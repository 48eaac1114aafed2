"""Whether one share lies above another by more than a margin, whenever one looks: a sequential two-proportion test.

For given true shares, the likelihood of Jeffreys' mixture over the likelihood of those shares is a nonnegative
martingale that starts at 1 (Robbins 1970, doi:10.1214/aoms/1177696786; Howard et al. 2021, arXiv:1810.08240), and so is
the product of both arms', whatever the traffic of each. Against the most likely of all pairs of shares that keep the
margin it is smaller still: it ever exceeds 1/a with probability a at most (Ville 1939), under each of them.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, xlog1py, xlogy

from deployments.rollout.analysis.counts import Floats

_JEFFREYS = 0.5
_HALVINGS = 60


def excess(counts: ArrayLike, margin: float) -> Floats:
    """Nats against `share <= base share + margin`; 0 where the counts speak for it.

    `counts` are hits and trials, then the base's, [..., 4] -> [...].
    """
    k, n, j, m = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    above = (n > 0) & (m > 0) & (k * m > (j + margin * m) * n)
    if not above.any():
        return np.zeros(above.shape)
    low, high = np.zeros(k.shape), np.full(k.shape, 1.0 - margin)
    for _ in range(_HALVINGS):  # the likelihood is concave in the base share: its slope falls
        base = (low + high) / 2
        share = base + margin
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = _slope(k, n, share) + _slope(j, m, base)
        low, high = np.where(slope > 0, base, low), np.where(slope > 0, high, base)
    base = (low + high) / 2
    nats = _log_mixture(k, n) + _log_mixture(j, m) - _log_likelihood(k, n, base + margin) - _log_likelihood(j, m, base)
    return np.where(above, np.maximum(nats, 0.0), 0.0)


def above(counts: ArrayLike, most: float) -> Floats:
    """Nats against `share <= most`, of hits and trials, [..., 2] -> [...]; 0 where they speak for it."""
    k, n = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    nats = _log_mixture(k, n) - _log_likelihood(k, n, np.asarray(most))
    return np.where(k > most * n, np.maximum(nats, 0.0), 0.0)


def _slope(hits: Floats, trials: Floats, share: Floats) -> Floats:
    up = np.where(hits > 0, hits / share, 0.0)
    return up - np.where(trials > hits, (trials - hits) / (1 - share), 0.0)


def _log_mixture(hits: Floats, trials: Floats) -> Floats:
    mixed: Floats = betaln(hits + _JEFFREYS, trials - hits + _JEFFREYS) - betaln(_JEFFREYS, _JEFFREYS)
    return mixed


def _log_likelihood(hits: Floats, trials: Floats, share: Floats) -> Floats:
    likelihood: Floats = xlogy(hits, share) + xlog1py(trials - hits, -np.minimum(share, 1.0))
    return likelihood
