"""Has all series kept by storage, and reads them back for who looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from telemetry.series.distribution import Buckets
from telemetry.series.stream import Increment, Key
from telemetry.series.table import UNKNOWN, Floats, Ints, Table, Taken
from telemetry.series.track import Track
from telemetry.storage.catalogue import Kind
from telemetry.storage.exemplars import Exemplar
from telemetry.storage.layout import Layout
from telemetry.storage.storage import Storage

MAX_TOTAL = 2.0**62
"""A total above this is kept as this one: storage keeps whole numbers of 64 bits."""


class Recording:
    """Tells storage what was taken: a gauge's value, the totals of counters and histograms."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._layouts: dict[tuple[float, ...], Layout] = {}
        self._totals: dict[Key, Buckets] = {}

    def record(self, table: Table, taken: Taken) -> None:
        """Keep what rows of a table are now."""
        end_s = taken.end_ns / 1e9
        if table.bounds is not None:
            layout = self._layouts.setdefault(table.bounds, Layout.explicit(table.bounds))
            totals = table.total[taken.rows]
            np.minimum(totals, MAX_TOTAL, out=totals)
            ids = self._ids(table, taken.rows, "histogram")
            self._storage.append_buckets(ids, end_s, layout, totals[:, 1:].astype(np.int64), totals[:, 0])
            return
        gauge = taken.gauge
        if gauge.any():
            self._keep(table, taken.rows[gauge], "gauge", end_s[gauge], taken.amounts[gauge])
        if not gauge.all():
            rows = taken.rows[~gauge]
            self._keep(table, rows, "counter", end_s[~gauge], table.total[rows])

    def repeat(self, table: Table, rows: Ints, now_s: float) -> None:
        """Keep the values of gauges again that were left out as they have not changed."""
        self._keep(table, rows, "gauge", np.full(len(rows), now_s), table.level[rows])

    def record_histogram(self, increment: Increment) -> None:
        """Keep what an exponential histogram is now."""
        assert isinstance(increment.amount, Buckets), "numbers have rows"
        before = self._totals.get(increment.key)
        total = self._totals[increment.key] = increment.amount if before is None else before.plus(increment.amount)
        layout, number = Layout.of(total), self._storage.series_id(increment.key, "histogram")
        self._storage.append_buckets(
            np.array([number]), np.array([increment.end_s]), layout, layout.row(total)[None], np.array([total.total])
        )

    def link(self, exemplars: Sequence[Exemplar], now_s: float) -> None:
        """Keep values with the traces that they are of."""
        if exemplars:
            self._storage.add_exemplars(exemplars, now_s)

    def describe(self, keys: Sequence[Key], now_s: float) -> None:
        """Keep who reports."""
        self._storage.append(np.array(self._storage.series_ids(keys, "gauge")), now_s, np.ones(len(keys)))

    def plotted(self, key: Key, kind: Kind, touched_s: float, since_s: float) -> "Plotted":
        """One series over time."""
        return Plotted(key, touched_s, kind, self._storage, since_s)

    def forget(self, key: Key) -> None:
        """An exponential histogram has ended."""
        self._totals.pop(key, None)

    def _keep(self, table: Table, rows: Ints, kind: Kind, time_s: Floats, values: Floats) -> None:
        self._storage.append(self._ids(table, rows, kind), time_s, values)

    def _ids(self, table: Table, rows: Ints, kind: Kind) -> Ints:
        """The numbers by which storage knows the rows."""
        column = table.stored["gauge" if kind == "gauge" else "total"]
        ids: Ints = column[rows]
        unknown = np.flatnonzero(ids == UNKNOWN)
        if len(unknown):
            new = rows[unknown]
            ids[unknown] = column[new] = self._storage.series_ids([table.keys[row] for row in new.tolist()], kind)
        return ids


@dataclass(frozen=True)
class Plotted:
    """One series, as storage has it: a counter as its rate per second, a histogram as its values' mean."""

    key: Key
    touched_s: float
    """When it was reported last."""
    kind: Kind
    storage: Storage
    since_s: float

    @cached_property
    def track(self) -> Track:
        """Its points over the retention."""
        number, until_s = self.storage.series_id(self.key, self.kind), self.touched_s + 60.0
        if self.kind == "histogram":
            found = self.storage.read_buckets(number, self.since_s, until_s)
            means = [
                (each.times[1:], _ratio(np.diff(each.totals), np.diff(each.counts.sum(axis=1)))) for _, each in found
            ]
            times = np.concatenate([times for times, _ in means] or [np.empty(0)])
            values = np.concatenate([values for _, values in means] or [np.empty(0)])
            order = np.argsort(times, kind="stable")
            return _track(times[order], values[order])
        times, values, *_ = self.storage.read(number, self.since_s, until_s)
        if self.kind == "counter":
            times, values = times[1:], _ratio(np.diff(values), np.maximum(np.diff(times), 1e-3))
        return _track(times, values)


def _ratio(above: Floats, below: Floats | Ints) -> Floats:
    """NaN where there is nothing below."""
    ratio = np.full(len(above), np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio


def _track(times: Floats, values: Floats) -> Track:
    track = Track(retention_s=np.inf, max_points=max(1, len(times)))
    track.times.frombytes(np.ascontiguousarray(times, float).tobytes())
    track.values.frombytes(np.ascontiguousarray(values, float).tobytes())
    return track
