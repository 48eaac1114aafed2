"""Many elements made few: sum, avg, topk, ... by some labels or without some."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from telemetry.queries.labels import NAME, Labels, only, without
from telemetry.queries.over_time import between
from telemetry.queries.values_text import number_text
from telemetry.queries.vectors import Bools, Floats, Scalar, Vector

Groups = NDArray[np.intp]


def group_labels(labels: Labels, names: list[str], *, is_by: bool) -> Labels:
    """What the elements of a group have in common."""
    return only(labels, names) if is_by else without(labels, [*names, NAME])


def grouped(vector: Vector, names: list[str], *, is_by: bool) -> tuple[list[Labels], Groups]:
    """The groups' labels, and the group of each element."""
    rows: dict[Labels, int] = {}
    groups = [rows.setdefault(group_labels(labels, names, is_by=is_by), len(rows)) for labels in vector.labels]
    return list(rows), np.array(groups, np.intp)


def aggregated(op: str, vector: Vector, names: list[str], *, is_by: bool) -> Vector:
    """One element for each group; `op` is a key of `STATISTICS`."""
    labels, groups = grouped(vector, names, is_by=is_by)
    counts = _sums(groups, len(labels), vector.present.astype(np.float64))
    with np.errstate(all="ignore"):
        values = STATISTICS[op](vector, groups, counts)
    return Vector(labels=labels, values=values, present=counts > 0)


def quantile(vector: Vector, q: Scalar, names: list[str], *, is_by: bool) -> Vector:
    """The q-th quantile of each group at each step."""
    labels, groups = grouped(vector, names, is_by=is_by)
    values = np.zeros((len(labels), vector.num_steps))
    nums = _sums(groups, len(labels), vector.present.astype(np.float64)).astype(np.intp)
    for group in range(len(labels)):
        mine = groups == group
        ordered = _in_order(vector.values[mine], vector.present[mine])
        num = np.maximum(nums[group], 1)
        starts = np.arange(vector.num_steps) * len(ordered)
        values[group] = between(np.ascontiguousarray(ordered.T).reshape(-1), starts, num, q)
    return Vector(labels=labels, values=values, present=nums > 0)


def most(vector: Vector, k: Scalar, names: list[str], *, is_by: bool, largest: bool) -> Vector:
    """The k largest or smallest elements of each group at each step, as they are."""
    _, groups = grouped(vector, names, is_by=is_by)
    chosen = np.zeros_like(vector.present)
    limit = np.where(np.isfinite(k), k, 0)
    for group in np.unique(groups):
        mine = np.flatnonzero(groups == group)
        values, present = vector.values[mine], vector.present[mine]
        last = np.where(present, np.isnan(values).astype(np.int8), 2)
        order = np.lexsort((np.where(np.isnan(values), 0.0, -values if largest else values), last), axis=0)
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.broadcast_to(np.arange(len(mine))[:, None], order.shape), axis=0)
        chosen[mine] = present & (ranks < limit)
    kept = Vector(labels=vector.labels, values=vector.values, present=chosen)
    # In the order of the last step, the only one whose order is seen.
    ordered = np.argsort((-1.0 if largest else 1.0) * vector.values[:, -1], kind="stable")
    return kept.rows([row for row in ordered if chosen[row].any()])


def count_values(vector: Vector, label: str, names: list[str], *, is_by: bool) -> Vector:
    """How many elements of each group have the same value, which becomes a label."""
    found: dict[Labels, Floats] = {}
    for row, labels in enumerate(vector.labels):
        group = dict(group_labels(labels, names, is_by=is_by))
        for value in np.unique(vector.values[row][vector.present[row]]):
            same = vector.present[row] & (
                (vector.values[row] == value) | (np.isnan(value) & np.isnan(vector.values[row]))
            )
            key = tuple(sorted({**group, label: number_text(float(value))}.items()))
            found[key] = found.get(key, np.zeros(vector.num_steps)) + same
    rows = list(found.values())
    return Vector.stacked(list(found), rows, [row > 0 for row in rows], vector.num_steps)


def _in_order(values: Floats, present: Bools) -> Floats:
    """Each step's values in order, NaN first, those that are not there last."""
    kind = np.where(present, 1, 2) - (present & np.isnan(values))
    order = np.lexsort((np.where(np.isnan(values), 0.0, values), kind), axis=0)
    return np.take_along_axis(values, order, axis=0)


def _sums(groups: Groups, num: int, values: Floats) -> Floats:
    sums = np.zeros((num, values.shape[1]))
    np.add.at(sums, groups, values)
    return sums


def _sum(vector: Vector, groups: Groups, counts: Floats) -> Floats:
    return _sums(groups, len(counts), np.where(vector.present, vector.values, 0.0))


def _mean(vector: Vector, groups: Groups, counts: Floats) -> Floats:
    return _sum(vector, groups, counts) / counts


def _extreme(pick: np.ufunc) -> Callable[[Vector, Groups, Floats], Floats]:
    def of(vector: Vector, groups: Groups, counts: Floats) -> Floats:
        result = np.full(counts.shape, np.nan)
        pick.at(result, groups, np.where(vector.present, vector.values, np.nan))
        return result

    return of


def _variance(vector: Vector, groups: Groups, counts: Floats) -> Floats:
    mean = _mean(vector, groups, counts)
    difference = np.where(vector.present, vector.values - mean[groups], 0.0)
    return _sums(groups, len(counts), difference * difference) / counts


STATISTICS: dict[str, Callable[[Vector, Groups, Floats], Floats]] = {
    "sum": _sum,
    "avg": _mean,
    "min": _extreme(np.fmin),
    "max": _extreme(np.fmax),
    "count": lambda _vector, _groups, counts: counts,
    "group": lambda _vector, _groups, counts: np.ones_like(counts),
    "stdvar": _variance,
    "stddev": lambda vector, groups, counts: np.sqrt(_variance(vector, groups, counts)),
}
