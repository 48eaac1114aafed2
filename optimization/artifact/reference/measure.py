"""Makes the reference of an artifact of its held-out rows."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from optimization.artifact.reference.distribution import Distribution, distribution_of
from optimization.artifact.reference.reference import Problem, Reference, strangeness
from optimization.artifact.reference.views import Columns, Views


def reference_of(views: Views, asked: Columns, answered: Columns) -> Reference:
    """The reference that the columns of some rows make, of what was asked and what was answered."""
    inputs = _distributions(asked, {})
    return Reference(
        num_rows=len(next(iter((asked | answered).values()))),
        seed=views.seed,
        inputs=inputs,
        outputs=_distributions(answered, {"class": range(views.num_classes)} if views.num_classes else {}),
        num_problems={problem: int(rows.sum()) for problem, rows in _extremes(inputs, asked).items()},
    )


def _extremes(inputs: tuple[Distribution, ...], columns: Columns) -> dict[Problem, NDArray[np.bool_]]:
    """Rows with a problem, were each judged by the others: those that alone hold a column's least or greatest value."""
    num_rows = len(next(iter(columns.values()), np.zeros(0)))
    names: tuple[Problem, ...] = ("missing", "out_of_range", "new_category", "wrong_length")
    found: dict[Problem, NDArray[np.bool_]] = {name: np.zeros(num_rows, np.bool_) for name in names}
    for each in inputs:
        column = columns[each.name]
        found["missing"] |= ~np.isfinite(column)
        strange = found[strangeness(each)]
        for value, count in zip(*np.unique(column[np.isfinite(column)], return_counts=True), strict=True):
            if count == 1 and (each.kind == "categories" or value in (each.low, each.high)):
                strange |= column == value
    return found


def _distributions(columns: Columns, categories: Mapping[str, range]) -> tuple[Distribution, ...]:
    found = (distribution_of(name, column, categories.get(name, ())) for name, column in columns.items())
    return tuple(each for each in found if each is not None)
