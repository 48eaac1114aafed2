"""Measures of the order that scores put the candidates of a query in; each is a number for each query.

Queries whose candidates are all as relevant, or none of which is relevant, do not count: any order of them is as good.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ndcg(labels: Array, scores: Array, num: int) -> Array:
    """Discounted gain of the first `num`, as a share of the best order's (Järvelin 2002), ties averaged."""
    from sklearn.metrics import ndcg_score

    return _of_queries(labels, scores, lambda relevance, given: float(ndcg_score([relevance], [given], k=num)))


def reciprocal_rank(labels: Array, scores: Array) -> Array:
    """One through the rank of the first relevant candidate; of equal scores the others come before it."""

    def of_query(relevance: Array, given: Array) -> float:
        best = given[relevance > 0].max()
        return 1 / (1 + int((given[relevance == 0] >= best).sum()))

    return _of_queries(labels, scores, of_query)


def recall(labels: Array, scores: Array, num: int) -> Array:
    """Share of the relevant candidates that are among the first `num`, or of as many as fit there."""

    def of_query(relevance: Array, given: Array) -> float:
        first = np.argsort(-given, kind="stable")[:num]
        return float((relevance[first] > 0).sum()) / min(num, int((relevance > 0).sum()))

    return _of_queries(labels, scores, of_query)


def _of_queries(labels: Array, scores: Array, measure: Callable[[Array, Array], float]) -> Array:
    return np.array([measure(labels[rows, 0], scores[rows]) for rows in _queries(labels)], np.float64)


def _queries(labels: Array) -> Iterator[NDArray[np.int64]]:
    """The rows of each query that counts, in an order that hangs on the labels alone."""
    _, place, counts = np.unique(labels[:, 1], return_inverse=True, return_counts=True)
    for rows in np.split(np.argsort(place, kind="stable"), np.cumsum(counts)[:-1]):
        relevance = labels[rows, 0]
        if relevance.max() > 0 and np.ptp(relevance) > 0:
            yield rows
