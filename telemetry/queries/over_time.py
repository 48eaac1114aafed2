"""Functions of a range whose result is a statistic of its samples."""

from collections.abc import Callable

import numpy as np

from telemetry.queries.vectors import Bools, Floats
from telemetry.queries.windows import Flat, Windows

Ranged = tuple[Floats, Bools]
"""A value for each window, and which windows have one."""


def _per_window(statistic: Callable[[Flat], Floats]) -> Callable[[Windows], Ranged]:
    def of(windows: Windows) -> Ranged:
        values = np.zeros(len(windows.low))
        done = 0
        for piece in windows.pieces():
            flat = piece.flat()
            if len(flat.held):
                values[done + flat.held] = statistic(flat)
            done += len(piece.low)
        return values, windows.at_least(1)

    return of


def _mean(flat: Flat) -> Floats:
    return flat.sums(flat.values) / flat.nums


def _variance(flat: Flat) -> Floats:
    difference = flat.values - flat.each(_mean(flat))
    return flat.sums(difference * difference) / flat.nums


def _last(windows: Windows) -> Ranged:
    if not len(windows.series.values):
        return np.zeros(len(windows.low)), windows.at_least(1)
    return windows.series.values[windows.last], windows.at_least(1)


def quantile(windows: Windows, q: Floats) -> Ranged:
    """The q-th quantile of each window, between the two nearest samples; `q` is a number a window."""
    values = np.zeros(len(windows.low))
    done = 0
    for piece in windows.pieces():
        flat = piece.flat()
        if len(flat.held):
            wanted = q[done + flat.held]
            order = np.lexsort((np.where(np.isnan(flat.values), -np.inf, flat.values), np.repeat(flat.held, flat.nums)))
            values[done + flat.held] = between(flat.values[order], flat.starts, flat.nums, wanted)
        done += len(piece.low)
    return values, windows.at_least(1)


def between(ordered: Floats, starts: "np.ndarray", nums: "np.ndarray", q: Floats) -> Floats:
    """Quantiles of groups of sorted values, as Prometheus defines them: outside [0, 1] they are infinite."""
    rank = np.where(np.isfinite(q), q, 0.0) * (nums - 1)
    low = np.clip(np.floor(rank), 0, nums - 1).astype(np.intp)
    high = np.minimum(low + 1, nums - 1)
    weight = rank - np.floor(rank)
    result = ordered[starts + low] * (1 - weight) + ordered[starts + high] * weight
    result = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, result))
    return np.asarray(np.where(np.isnan(q), np.nan, result))


OVER_TIME: dict[str, Callable[[Windows], Ranged]] = {
    "sum_over_time": _per_window(lambda flat: flat.sums(flat.values)),
    "avg_over_time": _per_window(_mean),
    "count_over_time": _per_window(lambda flat: flat.nums.astype(np.float64)),
    "min_over_time": _per_window(lambda flat: np.asarray(np.fmin.reduceat(flat.values, flat.starts))),
    "max_over_time": _per_window(lambda flat: np.asarray(np.fmax.reduceat(flat.values, flat.starts))),
    "stdvar_over_time": _per_window(_variance),
    "stddev_over_time": _per_window(lambda flat: np.sqrt(_variance(flat))),
    "present_over_time": _per_window(lambda flat: np.ones(len(flat.held))),
    "last_over_time": _last,
}
KEEPS_NAME = frozenset({"last_over_time"})
