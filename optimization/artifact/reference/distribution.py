"""How one number of each row is distributed, in bins that chance alone would fill about alike."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

NUM_BINS = 10
MOST_CATEGORIES = 10
"""A column of the data with as many different values, or fewer, is taken as one of categories."""


class Distribution(BaseModel):
    """Rows by bin; a value on an edge falls below it, as in OTLP."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    kind: Literal["levels", "categories"] = "levels"
    edges: tuple[float, ...] = ()
    """Of levels: the upper end of each bin but the last, ascending."""
    values: tuple[float, ...] = ()
    """Of categories: the value of each bin but the last, which holds any other."""
    counts: tuple[int, ...]
    low: float | None = None
    """Of levels: the least value seen."""
    high: float | None = None

    @property
    def num_bins(self) -> int:
        """Bins, whatever they hold."""
        return len(self.counts)

    @property
    def bounds(self) -> tuple[float, ...]:
        """The bins' upper ends as a histogram of OTLP has them; of categories, those of the bins' numbers."""
        return self.edges if self.kind == "levels" else tuple(bin_ + 0.5 for bin_ in range(len(self.values)))

    def count(self, column: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows in each bin, [bins]; those without a value are in none."""
        present = column[~np.isnan(column)]
        if self.kind == "levels":
            found = np.searchsorted(self.edges, present)
        else:
            known = np.array(self.values)
            place = np.searchsorted(known, present).clip(max=len(known) - 1)
            found = np.where(known[place] == present, place, len(known))
        return np.bincount(found, minlength=self.num_bins)

    def is_strange(self, column: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which values lie outside the range that was seen, or are of no category that was."""
        if self.kind == "categories":
            return np.asarray(~np.isin(column, self.values) & ~np.isnan(column))
        if self.low is None or self.high is None:
            return np.zeros(len(column), np.bool_)
        return np.asarray((column < self.low) | (column > self.high))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        inner = self.edges if self.kind == "levels" else self.values
        if not inner or list(inner) != sorted(set(inner)) or len(self.counts) != len(inner) + 1:
            kind = "edges" if self.kind == "levels" else "values"
            raise ValueError(f"{self.name}: {kind} must ascend, one fewer than counts, got {inner} and {self.counts}")
        return self


def distribution_of(name: str, column: NDArray[np.float64], categories: Sequence[int] = ()) -> Distribution | None:
    """How a column's values are distributed; `categories` where it is known that there can be no others.

    None where there is no value.
    """
    present = column[np.isfinite(column)]
    if not len(present):
        return None
    different = np.unique(present)
    if categories or len(different) <= MOST_CATEGORIES:
        values = tuple(float(value) for value in categories or different)
        fields: dict[str, Any] = {"kind": "categories", "values": values, "counts": (0,) * (len(values) + 1)}
    else:
        cuts = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
        edges = np.unique(np.quantile(present, cuts, method="inverted_cdf"))
        low, high = float(present.min()), float(present.max())
        fields = {"edges": tuple(edges.tolist()), "counts": (0,) * (len(edges) + 1), "low": low, "high": high}
    empty = Distribution(name=name, **fields)
    return empty.model_copy(update={"counts": tuple(empty.count(present).tolist())})
