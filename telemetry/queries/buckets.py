"""A histogram's totals as Prometheus' classic series: `_bucket` by upper bound, `_sum`, `_count`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.queries.vectors import Floats, Ints
from telemetry.series.distribution import ZERO_BUCKET
from telemetry.storage.layout import Layout
from telemetry.storage.points import Histograms


@dataclass(frozen=True, slots=True, kw_only=True)
class Cumulative:
    """Counts up to each bound, over time."""

    times_ms: Ints
    bounds: Floats
    """Upper bounds, the last one infinite."""
    counts: Floats
    """(points, bounds)"""
    sums: Floats


def cumulative(found: Sequence[tuple[Layout, Histograms]]) -> list[Cumulative]:
    """One for each explicit layout; one of all exponential ones, whose buckets change as they fill, at the coarsest
    scale.
    """
    explicit = [
        _explicit(layout, points) for layout, points in found if layout.bounds is not None and len(points.times)
    ]
    exponential = [(layout, points) for layout, points in found if layout.bounds is None and len(points.times)]
    return [*explicit, *([_exponential(exponential)] if exponential else [])]


def _explicit(layout: Layout, points: Histograms) -> Cumulative:
    assert layout.bounds is not None
    bounds = np.array([*layout.bounds, np.inf])
    places = np.minimum(np.array(layout.indexes, np.int64), len(bounds) - 1)
    return _ordered(points.times, bounds, _cumulative(points.counts, places, len(bounds)), points.totals)


def _exponential(found: Sequence[tuple[Layout, Histograms]]) -> Cumulative:
    scale = min(layout.scale for layout, _ in found)
    unit = found[0][0].unit
    moved = [_at_scale(layout, scale) for layout, _ in found]
    indexes = np.unique(np.concatenate([*moved, np.zeros(0, np.int64)]))
    parts = []
    for (_, points), places in zip(found, moved, strict=True):
        parts.append(_cumulative(points.counts, np.searchsorted(indexes, places), len(indexes) + 1))
    with np.errstate(over="ignore", under="ignore"):
        uppers = np.where(indexes == ZERO_BUCKET, 0.0, unit * np.exp2((indexes + 1.0) / 2.0**scale))
    return _ordered(
        np.concatenate([points.times for _, points in found]),
        np.append(uppers, np.inf),
        np.concatenate(parts),
        np.concatenate([points.totals for _, points in found]),
    )


def _cumulative(counts: Ints, places: Ints, num: int) -> Floats:
    """Counts of `num` buckets, each with those before it, of columns that are counted at `places`."""
    moved = np.zeros((num, len(counts)))
    np.add.at(moved, places, counts.T)
    return np.asarray(np.cumsum(moved, axis=0).T)


def _at_scale(layout: Layout, scale: int) -> Ints:
    """The bucket of a coarser layout that each of a layout's own lies in."""
    indexes = np.array(layout.indexes, np.int64)
    return np.where(indexes == ZERO_BUCKET, indexes, indexes >> (layout.scale - scale))


def _ordered(times: Floats, bounds: Floats, counts: Floats, sums: Floats) -> Cumulative:
    order = np.argsort(times, kind="stable")
    times_ms = np.rint(times[order] * 1e3).astype(np.int64)
    return Cumulative(times_ms=times_ms, bounds=bounds, counts=counts[order], sums=sums[order])
