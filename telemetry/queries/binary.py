"""Operators between two numbers, a number and a vector, or two vectors whose elements are matched by labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from telemetry.queries.errors import QueryError
from telemetry.queries.labels import NAME, Labels, nameless, only, shown, without
from telemetry.queries.limits import Budget
from telemetry.queries.vectors import Bools, Floats, Scalar, Vector

Operation = Callable[[Any, Any], Any]

ARITHMETIC: dict[str, Operation] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
COMPARISONS: dict[str, Operation] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
SETS = ("and", "or", "unless")


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How elements of two sides find each other."""

    labels: tuple[str, ...] = ()
    is_on: bool = False
    """By `labels` alone, else by all but them."""
    many: str = "none"
    """The side of which several may match one of the other: "left", "right" or "none"."""
    include: tuple[str, ...] = ()
    """Labels that come from the other side than `many`."""

    def signature(self, labels: Labels) -> Labels:
        """What elements that match have in common."""
        return only(labels, self.labels) if self.is_on else without(labels, (*self.labels, NAME))


def scalars(op: str, left: Scalar, right: Scalar) -> Scalar:
    """Two numbers a step; a comparison gives 0 or 1."""
    with np.errstate(all="ignore"):
        return np.asarray((ARITHMETIC | COMPARISONS)[op](left, right), np.float64)


def vector_and_scalar(op: str, vector: Vector, scalar: Scalar, *, is_swapped: bool, is_bool: bool) -> Vector:
    """Each element with the number; a comparison keeps those for which it holds, or gives 0 and 1 (`bool`)."""
    sides = (scalar[None, :], vector.values) if is_swapped else (vector.values, scalar[None, :])
    with np.errstate(all="ignore"):
        result = (ARITHMETIC | COMPARISONS)[op](*sides)
    if op in COMPARISONS and not is_bool:
        return Vector(labels=vector.labels, values=vector.values, present=vector.present & result)
    return vector.with_values(np.asarray(result, np.float64))


def sets(op: str, left: Vector, right: Vector, matching: Matching) -> Vector:
    """`and`, `or`, `unless`."""
    on_right = _any_present(right, matching)
    on_left = _any_present(left, matching)
    nowhere = np.zeros(left.num_steps, np.bool_)
    matched = [on_right.get(matching.signature(labels), nowhere) for labels in left.labels]
    there = np.array(matched, np.bool_).reshape(left.present.shape)
    if op == "and":
        return Vector(labels=left.labels, values=left.values, present=left.present & there)
    if op == "unless":
        return Vector(labels=left.labels, values=left.values, present=left.present & ~there)
    taken = [on_left.get(matching.signature(labels), nowhere) for labels in right.labels]
    rest = right.present & ~np.array(taken, np.bool_).reshape(right.present.shape)
    return Vector(
        labels=[*left.labels, *right.labels],
        values=np.concatenate([left.values, right.values]),
        present=np.concatenate([left.present, rest]),
    ).merged()


def vectors(op: str, left: Vector, right: Vector, matching: Matching, *, is_bool: bool, budget: Budget) -> Vector:
    """Each element with the one of the other side that it matches.

    Raises:
        QueryError: several match where only one may.
    """
    is_swapped = matching.many == "right"
    many, one = (right, left) if is_swapped else (left, right)
    by_signature = _unique(one, matching, "left" if is_swapped else "right")
    rows: list[tuple[Labels, Floats, Bools]] = []
    taken: dict[Labels, Bools] = {}
    for index, labels in enumerate(many.labels):
        signature = matching.signature(labels)
        for other in by_signature.get(signature, ()):
            both = many.present[index] & one.present[other]
            if not both.any():
                continue
            if matching.many == "none":
                before = taken.get(signature)
                if before is not None and (before & both).any():
                    raise QueryError(
                        "execution",
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    )
                taken[signature] = both if before is None else before | both
            sides = (many.values[index], one.values[other])
            with np.errstate(all="ignore"):
                result = (ARITHMETIC | COMPARISONS)[op](*(reversed(sides) if is_swapped else sides))
            kept = _result_labels(op, labels, one.labels[other], matching, is_bool=is_bool)
            if op in COMPARISONS and not is_bool:
                # The left side's value stays; Prometheus keeps it whichever side is the many one.
                rows.append((kept, left.values[other if is_swapped else index], both & result))
            else:
                rows.append((kept, np.asarray(result, np.float64), both))
        budget.check_series(len(rows))
    return _without_duplicates(rows, left.num_steps)


def _result_labels(op: str, many: Labels, one: Labels, matching: Matching, *, is_bool: bool) -> Labels:
    labels = nameless(many) if op in ARITHMETIC or is_bool else many
    if matching.many == "none":
        return only(labels, matching.labels) if matching.is_on else without(labels, matching.labels)
    if not matching.include:
        return labels
    included = only(one, matching.include)
    return tuple(sorted((*without(labels, matching.include), *included)))


def _unique(one: Vector, matching: Matching, side: str) -> dict[Labels, list[int]]:
    """The elements of the side that only one may match of, by signature."""
    rows: dict[Labels, list[int]] = {}
    for index, labels in enumerate(one.labels):
        rows.setdefault(matching.signature(labels), []).append(index)
    for signature, indexes in rows.items():
        if len(indexes) > 1 and (one.present[indexes].sum(axis=0) > 1).any():
            first, second = (shown(one.labels[index]) for index in indexes[:2])
            raise QueryError(
                "execution",
                f"found duplicate series for the match group {shown(signature)} on the {side} hand-side of the "
                f"operation: [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on "
                "one side",
            )
    return rows


def _without_duplicates(rows: list[tuple[Labels, Floats, Bools]], num_steps: int) -> Vector:
    labels, values, present = [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
    try:
        return Vector.stacked(labels, values, present, num_steps).merged()
    except QueryError:
        raise QueryError(
            "execution", "multiple matches for labels: grouping labels must ensure unique matches"
        ) from None


def _any_present(vector: Vector, matching: Matching) -> dict[Labels, Bools]:
    """For each signature, the steps at which any element has it."""
    found: dict[Labels, Bools] = {}
    for labels, present in zip(vector.labels, vector.present, strict=True):
        signature = matching.signature(labels)
        found[signature] = found[signature] | present if signature in found else present
    return found
