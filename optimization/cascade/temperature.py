"""Fits the temperature by which probabilities say how often a classifier is right (Guo 2017, arXiv:1706.04599)."""

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = 0.05, 20.0
"""Temperatures that are sought; where every example is answered rightly, the likelihood alone would go to 0."""
_HALVINGS = 60


def fit(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature under which `labels` are likeliest; logits are of shape [samples, outputs], labels [samples].

    The likelihood is concave in the inverse of the temperature, so its slope is zero once at most.
    """
    wide = np.column_stack([np.zeros(len(logits)), logits[:, 0]]) if logits.shape[1] == 1 else logits
    wide = wide - wide.max(axis=1, keepdims=True)
    mean_right = float(wide[np.arange(len(wide)), labels].mean())
    low, high = 1 / MOST, 1 / LEAST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _mean_expected(wide, middle) < mean_right else (low, middle)
    return 2 / (low + high)


def _mean_expected(logits: NDArray[np.float64], inverse: float) -> float:
    """Mean of the logit that the model itself expects; it rises with the inverse of the temperature."""
    weights = np.exp(logits * inverse)
    return float(((weights * logits).sum(axis=1) / weights.sum(axis=1)).mean())
