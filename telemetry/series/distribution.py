"""Bucket counts, explicit or exponential: their differences over time, their sum over instances, their quantiles."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

ZERO_BUCKET = -(10**9)
"""The index of an exponential histogram's zero bucket; values below zero are counted there too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Counts by bucket index; only buckets that hold something are kept.

    `bounds` are the upper bounds of an explicit layout. Where it is None, bucket i of an exponential layout holds
    values in (base**i, base**(i+1)] with base = 2**(2**-scale)
    (https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram).
    """

    counts: Mapping[int, int]
    total: float
    """Sum of the values."""
    bounds: tuple[float, ...] | None = None
    scale: int = 0
    unit: float = 1.0
    """What the edges of an exponential layout are multiplied by, as where the sender counts milliseconds: its buckets
    stay as they came, so that they can be subtracted whatever the scale becomes.
    """

    @property
    def num_values(self) -> int:
        """How many values were counted."""
        return sum(self.counts.values())

    def since(self, before: "Buckets") -> "Buckets | None":
        """What was counted after `before`, or None when this does not continue it (a reset, another layout)."""
        if (self.bounds, self.unit) != (before.bounds, before.unit) or self.scale > before.scale:
            return None
        old = before.counts if self.scale == before.scale else _coarser(before.counts, before.scale - self.scale)
        if any(self.counts.get(index, 0) < count for index, count in old.items()):
            return None
        counts = {index: count - old.get(index, 0) for index, count in self.counts.items()}
        return Buckets(
            counts={index: count for index, count in counts.items() if count},
            total=self.total - before.total,
            bounds=self.bounds,
            scale=self.scale,
            unit=self.unit,
        )

    def plus(self, other: "Buckets") -> "Buckets":
        """Both together, at the coarser of their scales; `other` where the layouts cannot be added up."""
        if (self.bounds, self.unit) != (other.bounds, other.unit):
            return other
        scale = min(self.scale, other.scale)
        counts = _coarser(self.counts, self.scale - scale)
        for index, count in _coarser(other.counts, other.scale - scale).items():
            counts[index] = counts.get(index, 0) + count
        total = self.total + other.total
        return Buckets(counts=counts, total=total, bounds=self.bounds, scale=scale, unit=self.unit)

    def cells(self) -> Iterator[tuple[float, float, int]]:
        """(low, high, count) of each bucket; one without an end is a point at its finite end, as in Prometheus."""
        for index, count in self.counts.items():
            low, high = self._edges(index)
            yield low, high, count

    def _edges(self, index: int) -> tuple[float, float]:
        if self.bounds is None:
            if index == ZERO_BUCKET:
                return 0.0, 0.0
            return self.unit * _power(index, self.scale), self.unit * _power(index + 1, self.scale)
        if not self.bounds:
            mean = self.total / self.num_values
            return mean, mean
        high = self.bounds[min(index, len(self.bounds) - 1)]
        if index == 0:
            return min(0.0, high), high
        return self.bounds[index - 1], high


def _coarser(counts: Mapping[int, int], shift: int) -> dict[int, int]:
    merged: dict[int, int] = {}
    for index, count in counts.items():
        target = index if index == ZERO_BUCKET else index >> shift
        merged[target] = merged.get(target, 0) + count
    return merged


def _power(index: int, scale: int) -> float:
    """The lower edge of exponential bucket `index`, kept within what a float holds."""
    return math.pow(2.0, max(-1000.0, min(1000.0, math.ldexp(index, -scale))))


class Distribution:
    """Bucket counts of many senders, whatever their layouts, added up."""

    def __init__(self) -> None:
        self.num_values = 0
        self.total = 0.0
        self._cells: dict[tuple[float, float], int] = {}

    def add(self, buckets: Buckets) -> None:
        """Add one sender's counts."""
        self.total += buckets.total
        for low, high, count in buckets.cells():
            self.num_values += count
            self._cells[low, high] = self._cells.get((low, high), 0) + count

    def merge(self, other: "Distribution") -> None:
        """Add all that `other` holds."""
        self.total += other.total
        self.num_values += other.num_values
        for cell, count in other._cells.items():
            self._cells[cell] = self._cells.get(cell, 0) + count

    def mean(self) -> float:
        """The values' mean; NaN if there are none."""
        return self.total / self.num_values if self.num_values else math.nan

    def quantiles(self, *fractions: float) -> list[float]:
        """The values below which each fraction lies, taking values as evenly spread in a bucket; NaN if none."""
        if not self.num_values:
            return [math.nan] * len(fractions)
        low, high = np.array(list(self._cells)).T
        counts = np.array(list(self._cells.values()), float)
        edges = np.unique(np.concatenate([low, high]))
        width = np.where(high > low, high - low, 1.0)
        inside = np.where(high > low, (edges[:, None] - low) / width, edges[:, None] >= low)
        below = np.clip(inside, 0, 1) @ counts
        # An edge with nothing below it lies left of all values: let interpolation start at the last such edge.
        first = max(0, int(np.searchsorted(below, 0, side="right")) - 1)
        return [float(v) for v in np.interp([f * self.num_values for f in fractions], below[first:], edges[first:])]

    def share_below(self, value: float) -> float:
        """Which share of the values is at most `value`, taking them as evenly spread in a bucket; NaN if none."""
        if not self.num_values:
            return math.nan
        num = sum(
            count * (min(1.0, max(0.0, (value - low) / (high - low))) if high > low else float(value >= high))
            for (low, high), count in self._cells.items()
        )
        return num / self.num_values
