"""What an expression is worth at each step: numpy arrays over all steps at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.queries.errors import QueryError
from telemetry.queries.labels import Labels, nameless

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Samples of one series, in the order of their times."""

    labels: Labels
    times_ms: Ints
    values: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """Elements by labels; each has a value at some of the steps."""

    labels: list[Labels]
    values: Floats
    """One row an element, one column a step."""
    present: Bools

    @classmethod
    def stacked(
        cls, labels: Sequence[Labels], values: Sequence[Any], present: Sequence[Any], num_steps: int
    ) -> "Vector":
        """From one row for each element."""
        shape = (len(labels), num_steps)
        return cls(
            labels=list(labels),
            values=np.array(values, np.float64).reshape(shape),
            present=np.array(present, np.bool_).reshape(shape),
        )

    @property
    def num_steps(self) -> int:
        """Columns."""
        return int(self.values.shape[1])

    def with_values(self, values: Floats, present: Bools | None = None) -> "Vector":
        """The same elements, other numbers, which the metric's name says no longer."""
        return Vector(
            labels=[nameless(labels) for labels in self.labels],
            values=values,
            present=self.present if present is None else present,
        ).merged()

    def merged(self) -> "Vector":
        """Elements with the same labels made one.

        Raises:
            QueryError: two of them have a value at the same step.
        """
        if len(set(self.labels)) == len(self.labels):
            return self
        rows: dict[Labels, int] = {}
        order = np.array([rows.setdefault(labels, len(rows)) for labels in self.labels])
        counts = np.zeros((len(rows), self.num_steps), np.int64)
        values = np.zeros((len(rows), self.num_steps))
        np.add.at(counts, order, self.present)
        if (counts > 1).any():
            raise QueryError("execution", "vector cannot contain metrics with the same labelset")
        np.add.at(values, order, np.where(self.present, self.values, 0.0))
        return Vector(labels=list(rows), values=values, present=counts > 0)

    def rows(self, keep: Sequence[int] | Ints) -> "Vector":
        """Some of the elements."""
        chosen = np.asarray(keep, np.intp)
        return Vector(
            labels=[self.labels[row] for row in chosen], values=self.values[chosen], present=self.present[chosen]
        )


Scalar = Floats
"""One number a step."""

Value = Scalar | Vector | str
