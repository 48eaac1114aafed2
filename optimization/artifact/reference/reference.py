"""The reference of an artifact: the distributions of its held-out rows, and what was wrong with some of them."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from optimization.artifact.reference.distribution import Distribution

Problem = Literal["missing", "out_of_range", "new_category", "wrong_length"]
"""What may be wrong with a value: not there; beyond those that were seen; none that was seen; of a text, its length
beyond those that were seen."""

LENGTH = ".length"
"""Ends the names of columns that are lengths."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Reference(_Model):
    """What the served model was asked, and answered, on held-out examples."""

    num_rows: int = Field(ge=1)
    seed: int
    """Of the random projections."""
    inputs: tuple[Distribution, ...]
    outputs: tuple[Distribution, ...]
    num_problems: dict[Problem, int]
    """Held-out rows that have such a problem, each judged by all the others."""


class Fidelity(_Model):
    """How often the served model answers as its teacher does, on held-out examples."""

    teacher: str | None = None
    """`name/version` of the teacher, where that is an artifact."""
    num_agreed: int = Field(ge=0)
    num_rows: int = Field(ge=1)


def problems(
    inputs: tuple[Distribution, ...], columns: Mapping[str, NDArray[np.float64]]
) -> dict[tuple[str, Problem], NDArray[np.bool_]]:
    """Which rows have what problem in which column, where any has."""
    found: dict[tuple[str, Problem], NDArray[np.bool_]] = {}
    for each in inputs:
        column = columns[each.name]
        found[each.name, "missing"] = ~np.isfinite(column)
        found[each.name, strangeness(each)] = each.is_strange(column) & np.isfinite(column)
    return {key: rows for key, rows in found.items() if rows.any()}


def strangeness(each: Distribution) -> Problem:
    """What a value of it that is none of those seen is called."""
    if each.name.endswith(LENGTH):
        return "wrong_length"
    return "new_category" if each.kind == "categories" else "out_of_range"
