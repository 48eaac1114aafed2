"""How well scores put positives before negatives: the area under the ROC curve, with its interval."""

import math

import numpy as np
from numpy.typing import NDArray

from optimization.artifact.manifest import Quality

_Z = 1.959964


def auc(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> Quality:
    """The share of pairs of a positive and a negative whose positive has the higher score; ties count half.

    The 95 % interval is DeLong's (1988, Biometrics 44:837), by ranks (Sun and Xu 2014, IEEE SPL 21:1389).
    """
    is_positive = labels == 1
    positives, negatives = scores[is_positive], scores[~is_positive]
    ranks = _ranks(scores)
    of_positives = (ranks[is_positive] - _ranks(positives)) / len(negatives)
    of_negatives = 1 - (ranks[~is_positive] - _ranks(negatives)) / len(positives)
    value = float(of_positives.mean())
    half = _Z * math.sqrt(_spread(of_positives) + _spread(of_negatives))
    low, high = max(0.0, value - half), min(1.0, value + half)
    return Quality(metric="AUC", value=value, low=low, high=high, num_samples=len(scores))


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """From 1; equal values share the middle of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return middle[inverse]


def _spread(placements: NDArray[np.float64]) -> float:
    """Variance of their mean."""
    return float(placements.var(ddof=1) / len(placements)) if len(placements) > 1 else 0.0
