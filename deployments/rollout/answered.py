"""What a version answered, by its tensors: whether two versions answered alike, and whether anything is no number."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deployments.monitoring.answers import classes, is_classifier
from deployments.monitoring.sampling import ROWS_OF_REQUEST
from deployments.oip.tensors import Array
from optimization.artifact.manifest import Manifest

CLASS = "class"
"""What stands for the outputs of a classifier."""
TOLERANCE = 0.01
"""Numbers that differ by less are alike: relatively, or of the largest of their output."""

Rows = dict[str, Array]
"""The first rows of an answer, to be compared: the class of each, or its outputs."""


Judge = Callable[[Mapping[str, Array]], Awaitable[NDArray[np.int64] | None]]
"""The teacher's classes of these rows, none where it does not answer."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """An answer of one version, to be compared with another's to the same rows."""

    rows: Rows
    inputs: Mapping[str, Array]
    """What those rows answer."""
    judge: Judge | None
    """Asks the version's teacher, where it has one that it is compared with."""


def seen_of(manifest: Manifest, inputs: Mapping[str, Array], outputs: Mapping[str, Array], judge: Judge | None) -> Seen:
    """The first rows of an answer, in memory of their own."""
    first = {name: np.array(array[:ROWS_OF_REQUEST]) for name, array in inputs.items()}
    return Seen(rows=rows_of(manifest, outputs), inputs=first, judge=judge)


def rows_of(manifest: Manifest, outputs: Mapping[str, Array]) -> Rows:
    """The first rows of these outputs."""
    first = {name: array[:ROWS_OF_REQUEST] for name, array in outputs.items()}
    if is_classifier(manifest):
        return {CLASS: classes(manifest, first)}
    return {name: np.array(array) for name, array in first.items()}


def alike(one: Rows, other: Rows) -> NDArray[np.bool_]:
    """Of each row, whether both say the same; of forms that differ, none does."""
    num_rows = len(next(iter(one.values())))
    if one.keys() != other.keys() or any(one[name].shape != other[name].shape for name in one):
        return np.zeros(num_rows, bool)
    same = np.ones(num_rows, bool)
    for name, array in one.items():
        same &= _close(array, other[name]).reshape(num_rows, -1).all(axis=1)
    return same


def is_finite(outputs: Mapping[str, Array]) -> bool:
    """Whether all numbers are numbers."""
    return all(bool(np.isfinite(array).all()) for array in outputs.values() if array.dtype.kind == "f")


def _close(one: Array, other: Array) -> NDArray[np.bool_]:
    if one.dtype.kind != "f" or other.dtype.kind != "f":
        return np.asarray(one == other)
    scale = float(np.abs(one[np.isfinite(one)]).max(initial=0.0))
    return np.isclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * scale)
