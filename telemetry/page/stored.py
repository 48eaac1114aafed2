"""What storage holds of many series, as the numbers that a plot shows: a count as its rate, a distribution as its mean.

All series of a view are read at once, which costs little more than one.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from telemetry.series.stream import Key
from telemetry.storage.layout import Layout
from telemetry.storage.points import Histograms, Points
from telemetry.storage.signals import SCOPE
from telemetry.storage.storage import NO_POINTS, Storage


def signal_key(service: str, signal: str) -> Key:
    """The series of a recorded signal."""
    return Key(service, "", SCOPE, signal, ())


def stored(storage: Storage, keys: Iterable[Key], start_s: float, end_s: float, *, step_s: float) -> dict[Key, Points]:
    """What storage has of `keys` in a range, for points that will stand `step_s` apart."""
    wanted = set(keys)
    found = [
        series
        for service in {key.service for key in wanted}
        for series in storage.select(service=service, where=wanted.__contains__, start_s=start_s, end_s=end_s)
    ]
    numbers = storage.read_many(
        [series.id for series in found if series.kind != "histogram"], start_s, end_s, step_s=step_s
    )
    buckets = storage.read_many_buckets(
        [series.id for series in found if series.kind == "histogram"], start_s, end_s, step_s=step_s
    )
    points: dict[Key, Points] = {}
    for series in found:
        if series.kind == "gauge":
            points[series.key] = numbers.get(series.id, NO_POINTS)
        elif series.kind == "counter":
            points[series.key] = _rates(numbers.get(series.id, NO_POINTS))
        else:
            points[series.key] = _means(buckets.get(series.id, []))
    return points


def _rates(totals: Points) -> Points:
    """What was counted a second, between one point and the next."""
    if len(totals.times) < 2:
        return NO_POINTS
    rates = np.diff(totals.values) / np.maximum(np.diff(totals.times), 1e-3)
    return Points(totals.times[1:], rates, rates, rates)


def _means(found: Sequence[tuple[Layout, Histograms]]) -> Points:
    """The mean of what was counted between one point and the next, NaN where nothing was."""
    times, means = [], []
    for _, totals in found:
        num, total = np.diff(totals.counts.sum(axis=1)), np.diff(totals.totals)
        times.append(totals.times[1:])
        means.append(np.divide(total, num, out=np.full(len(num), np.nan), where=num > 0))
    if not times:
        return NO_POINTS
    at, values = np.concatenate(times), np.concatenate(means)
    order = np.argsort(at, kind="stable")
    return Points(at[order], values[order], values[order], values[order])
