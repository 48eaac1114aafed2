"""What the columns of a histogram's counts stand for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry.series.distribution import Buckets


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The buckets of a histogram, one a column; the names are those of `Buckets`."""

    indexes: tuple[int, ...]
    """The bucket that each column counts."""
    bounds: tuple[float, ...] | None = None
    scale: int = 0
    unit: float = 1.0

    @classmethod
    def explicit(cls, bounds: tuple[float, ...]) -> "Layout":
        """All buckets between `bounds`, and those before and after them."""
        return cls(indexes=tuple(range(len(bounds) + 1)), bounds=bounds)

    @classmethod
    def of(cls, buckets: Buckets) -> "Layout":
        """All buckets of an explicit layout; of an exponential one, those that hold something."""
        if buckets.bounds is not None:
            return cls.explicit(buckets.bounds)
        return cls(indexes=tuple(sorted(buckets.counts)), scale=buckets.scale, unit=buckets.unit)

    def row(self, buckets: Buckets) -> NDArray[np.int64]:
        """The counts of `buckets`, whose layout is this one."""
        return np.array([buckets.counts.get(index, 0) for index in self.indexes], np.int64)

    def buckets(self, counts: NDArray[np.int64], total: float) -> Buckets:
        """What one row of counts says."""
        held = {index: int(count) for index, count in zip(self.indexes, counts, strict=True) if count}
        return Buckets(counts=held, total=total, bounds=self.bounds, scale=self.scale, unit=self.unit)
