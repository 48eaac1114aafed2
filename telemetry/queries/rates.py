"""How fast a series changes within each window, as Prometheus computes it
(https://prometheus.io/docs/prometheus/latest/querying/functions/#rate): extrapolated to the window's ends where the
samples come near to them, and a counter not below zero.
"""

from collections.abc import Callable

import numpy as np

from telemetry.queries.over_time import Ranged
from telemetry.queries.vectors import Bools, Floats
from telemetry.queries.windows import Flat, Windows


def _extrapolated(windows: Windows, *, is_counter: bool, is_rate: bool) -> Ranged:
    has = windows.at_least(2)
    if not has.any():
        return np.zeros(len(has)), has
    values, times_ms = windows.series.values, windows.series.times_ms
    first, last = windows.first, windows.last
    result = values[last] - values[first]
    if is_counter:
        lost = _lost_by_resets(values)
        result = result + (lost[last] - lost[first])
    to_start = (times_ms[first] - windows.begin_ms) / 1e3
    to_end = (windows.end_ms - times_ms[last]) / 1e3
    sampled = (times_ms[last] - times_ms[first]) / 1e3
    with np.errstate(all="ignore"):
        between = sampled / (windows.nums - 1)
        if is_counter:
            to_zero = sampled * (values[first] / result)
            to_start = np.where((result > 0) & (values[first] >= 0) & (to_zero < to_start), to_zero, to_start)
        reached = sampled + np.where(to_start < between * 1.1, to_start, between / 2)
        reached = reached + np.where(to_end < between * 1.1, to_end, between / 2)
        factor = reached / sampled
        if is_rate:
            factor = factor / ((windows.end_ms - windows.begin_ms) / 1e3)
        return result * factor, has


def _lost_by_resets(values: Floats) -> Floats:
    """What a counter had counted before each of its resets, summed up."""
    lost = np.zeros(len(values))
    lost[1:] = np.where(values[1:] < values[:-1], values[:-1], 0.0)
    return np.cumsum(lost)


def _instant(windows: Windows, *, is_counter: bool, is_rate: bool) -> Ranged:
    has = windows.at_least(2)
    if not has.any():
        return np.zeros(len(has)), has
    values, times_ms = windows.series.values, windows.series.times_ms
    last = windows.last
    before = np.maximum(last - 1, 0)
    result = values[last] - values[before]
    if is_counter:
        result = np.where(values[last] < values[before], values[last], result)
    seconds = (times_ms[last] - times_ms[before]) / 1e3
    has = has & (seconds > 0)
    with np.errstate(all="ignore"):
        return (result / seconds if is_rate else result), has


def _line(flat: Flat, zero_ms: Floats) -> tuple[Floats, Floats]:
    """Slope per second and value at `zero_ms` of the least-squares line through each window."""
    x = (flat.times_ms - flat.each(zero_ms)) / 1e3
    mean_x, mean_y = flat.sums(x) / flat.nums, flat.sums(flat.values) / flat.nums
    x_difference = x - flat.each(mean_x)
    with np.errstate(all="ignore"):
        slope = flat.sums(x_difference * (flat.values - flat.each(mean_y))) / flat.sums(x_difference * x_difference)
    return slope, mean_y - slope * mean_x


def _deriv(windows: Windows) -> Ranged:
    slopes = np.zeros(len(windows.low))
    done = 0
    for piece in windows.pieces():
        flat = piece.flat()
        if len(flat.held):
            slopes[done + flat.held], _ = _line(flat, flat.times_ms[flat.starts].astype(np.float64))
        done += len(piece.low)
    return slopes, windows.at_least(2)


def predict_linear(windows: Windows, ahead_s: Floats, step_ms: Floats) -> Ranged:
    """Where each window's line is `ahead_s` seconds after its step."""
    predicted = np.zeros(len(windows.low))
    done = 0
    for piece in windows.pieces():
        flat = piece.flat()
        if len(flat.held):
            slope, now = _line(flat, step_ms[done + flat.held])
            predicted[done + flat.held] = now + slope * ahead_s[done + flat.held]
        done += len(piece.low)
    return predicted, windows.at_least(2)


def _steps(happened: Callable[[Floats, Floats], Bools]) -> Callable[[Windows], Ranged]:
    """How often something happened from one sample to the next."""

    def of(windows: Windows) -> Ranged:
        values = windows.series.values
        if not len(values):
            return np.zeros(len(windows.low)), windows.at_least(1)
        counts = np.zeros(len(values))
        counts[1:] = np.cumsum(happened(values[:-1], values[1:]))
        return counts[windows.last] - counts[windows.first], windows.at_least(1)

    return of


RATES: dict[str, Callable[[Windows], Ranged]] = {
    "rate": lambda windows: _extrapolated(windows, is_counter=True, is_rate=True),
    "increase": lambda windows: _extrapolated(windows, is_counter=True, is_rate=False),
    "delta": lambda windows: _extrapolated(windows, is_counter=False, is_rate=False),
    "irate": lambda windows: _instant(windows, is_counter=True, is_rate=True),
    "idelta": lambda windows: _instant(windows, is_counter=False, is_rate=False),
    "deriv": _deriv,
    "changes": _steps(lambda before, after: (before != after) & ~(np.isnan(before) & np.isnan(after))),
    "resets": _steps(lambda before, after: after < before),
}
