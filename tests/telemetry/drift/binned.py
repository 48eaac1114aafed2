"""Samples, binned as a manifest's reference is."""

import numpy as np
from numpy.typing import NDArray


def edges_of(values: NDArray[np.float64], num_bins: int = 10) -> NDArray[np.float64]:
    """Quantiles of the values: as many fall into each bin."""
    return np.quantile(values, np.linspace(0, 1, num_bins + 1)[1:-1], method="inverted_cdf")


def binned(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows in each bin; a value on an edge falls below it, as in OTLP."""
    return np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
