"""Quantiles of classic histograms, as Prometheus computes them
(https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile).
"""

import math

import numpy as np

from telemetry.queries.labels import NAME, Labels, without
from telemetry.queries.vectors import Floats, Scalar, Vector

LE = "le"


def histogram_quantile(q: Scalar, buckets: Vector) -> Vector:
    """The q-th quantile of each histogram; `buckets` has an element for each of its upper bounds, in label `le`."""
    histograms: dict[Labels, dict[float, list[int]]] = {}
    for row, labels in enumerate(buckets.labels):
        bound = _bound(dict(labels).get(LE))
        if bound is not None:
            histograms.setdefault(without(labels, (LE, NAME)), {}).setdefault(bound, []).append(row)
    values = np.full((len(histograms), buckets.num_steps), np.nan)
    present = np.zeros((len(histograms), buckets.num_steps), np.bool_)
    for index, by_bound in enumerate(histograms.values()):
        bounds = np.array(sorted(by_bound))
        rows = [by_bound[bound] for bound in bounds]
        counts = np.array([np.where(buckets.present[row], buckets.values[row], 0.0).sum(axis=0) for row in rows])
        there = np.array([buckets.present[row].any(axis=0) for row in rows])
        present[index] = there.any(axis=0)
        for pattern in np.unique(there.T, axis=0):  # which buckets there are is mostly the same at all steps
            steps = np.flatnonzero((there == pattern[:, None]).all(axis=0))
            if pattern.any():
                values[index, steps] = _quantiles(q[steps], bounds[pattern], counts[np.ix_(pattern, steps)])
    return Vector(labels=list(histograms), values=values, present=present)


def _quantiles(q: Floats, bounds: Floats, counts: Floats) -> Floats:
    """For each step, of cumulative counts (bounds x steps)."""
    limits = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, np.nan))
    outside = (q < 0) | (q > 1) | np.isnan(q)
    if math.isfinite(bounds[-1]) or len(bounds) < 2:
        return np.asarray(np.where(outside, limits, np.nan))
    counts = np.fmax.accumulate(counts, axis=0)
    total = counts[-1]
    rank = np.where(outside, 0.0, q) * total
    bucket = np.minimum((counts[:-1] < rank).sum(axis=0), len(bounds) - 1)
    steps = np.arange(counts.shape[1])
    before = np.maximum(bucket - 1, 0)
    start = np.where(bucket > 0, bounds[before], 0.0)
    below = np.where(bucket > 0, counts[before, steps], 0.0)
    with np.errstate(all="ignore"):
        within = start + (bounds[bucket] - start) * ((rank - below) / (counts[bucket, steps] - below))
    within = np.where((bucket == 0) & (bounds[0] <= 0), bounds[0], within)
    within = np.where(bucket == len(bounds) - 1, bounds[-2], within)
    within = np.where((total == 0) | np.isnan(total), np.nan, within)
    return np.asarray(np.where(outside, limits, within))


def _bound(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
