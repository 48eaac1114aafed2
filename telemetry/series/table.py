"""Series of one kind as rows of numpy columns: what each new point adds is found for all of them at once.

OTLP totals may be cumulative or delta, restart, repeat and come out of order
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#temporality); what is `Taken` is what happened between two
points whatever the sender's way.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry.series.audiences import Audiences, Listener
from telemetry.series.stream import Key

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NUM_REMEMBERED = 64
"""Delta points by which a repeated one is recognised."""
UNKNOWN = -1
"""In place of a time: none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """n points, each of another row; times in Unix nanoseconds."""

    rows: Ints
    time_ns: Ints
    """By the collector's clock."""
    sent_ns: Ints
    """The same as the sender gave it."""
    start_ns: Ints
    """As the sender gave it, 0 where it gave none."""
    offset_ns: Ints
    """What was added to the sender's times."""
    previous_ns: Ints
    """When the sender reported before, by the collector's clock, or UNKNOWN."""
    values: Floats
    """(n), or (n, 1 + buckets) for a histogram: its sum, then its counts."""
    monotonic: Bools
    delta: Bools
    request: Ints
    """The number of the request that each came in."""
    now_s: Floats
    """When it was received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What m points added in (start_ns, end_ns], or the value of a gauge at end_ns."""

    rows: Ints
    start_ns: Ints
    end_ns: Ints
    amounts: Floats
    """(m), or (m, 1 + buckets)."""
    gauge: Bools
    now_s: Floats


class Table:
    """Rows of series: single numbers, or histograms with `bounds`, whose points are a sum and the counts of buckets."""

    def __init__(self, bounds: tuple[float, ...] | None = None) -> None:
        self.bounds = bounds
        self._shape = () if bounds is None else (2 + len(bounds),)
        self.keys: dict[int, Key] = {}
        """Whose rows they are."""
        self._free: list[int] = []
        self.num_rows = 0
        """With those that are free again."""
        self.last_ns = np.empty(0, np.int64)
        """The latest point's time, UNKNOWN before the first."""
        self.last_start_ns = np.empty(0, np.int64)
        self.last = np.empty((0, *self._shape))
        self.continues = np.empty(0, np.bool_)
        """Whether `last` can be subtracted from what comes: not where it was of another kind."""
        self.total = np.empty((0, *self._shape))
        """All that was added, a total that never falls."""
        self.counted = np.empty((0, *self._shape))
        """Added since it was last asked for."""
        self.level = np.empty(0)
        """A gauge's latest value."""
        self.level_at = np.empty(0, np.int64)
        """The number of the request that set it, UNKNOWN where none did."""
        self.touched_s = np.empty(0)
        self.stored = {"gauge": np.empty(0, np.int64), "total": np.empty(0, np.int64)}
        """The numbers by which storage knows the rows, UNKNOWN before it was asked."""
        self._audience = np.empty(0, np.int64)
        """By the row the number of those who listen to it, 0 for nobody."""
        self._audiences = Audiences()
        self._seen_by_row: dict[int, int] = {}
        self._seen = np.empty((0, NUM_REMEMBERED, 2), np.int64)
        self._num_seen = np.empty(0, np.int64)

    def add_row(self, key: Key, *, last_ns: int = UNKNOWN, last_start_ns: int = 0) -> int:
        """A row for a new series, or for one that goes on after points of another kind."""
        row = self._free.pop() if self._free else self._new_row()
        self.keys[row] = key
        self.last_ns[row], self.last_start_ns[row] = last_ns, last_start_ns
        for column in (self.last, self.total, self.counted):
            column[row] = 0.0
        self.continues[row], self.level_at[row], self.touched_s[row] = False, UNKNOWN, 0.0
        for numbers in self.stored.values():
            numbers[row] = UNKNOWN
        return row

    def listen(self, row: int, listener: Listener, *, to_gauge: bool = False) -> None:
        """Tell `listener` what the row counts from now on, or what it is while it is a gauge."""
        self._audience[row] = self._audiences.join(int(self._audience[row]), (listener, to_gauge))

    def free_row(self, row: int) -> None:
        """Forget a series."""
        self._free.append(row)
        self._audiences.leave(int(self._audience[row]))
        self._audience[row] = 0
        del self.keys[row]
        if (seen := self._seen_by_row.get(row)) is not None:
            self._num_seen[seen] = 0
            self._seen[seen] = UNKNOWN

    def take(self, arrived: Arrived, watched_ns: int) -> Taken:
        """What the points add; those of which that is not known, or known already, are left out.

        `watched_ns` is since when anyone watches.
        """
        rows, time_ns, delta = arrived.rows, arrived.time_ns, arrived.delta
        last_ns, last = self.last_ns[rows], self.last[rows]
        is_known, newer = last_ns != UNKNOWN, time_ns > last_ns
        start_ns = np.where(arrived.start_ns > 0, arrived.start_ns + arrived.offset_ns, 0)
        since_ns, adds, whole = self._risen(arrived, start_ns, last_ns, last, watched_ns)
        added = arrived.values - last
        if whole.any():
            added[whole] = arrived.values[whole]
        values = arrived.values
        if delta.any():
            fresh = self._fresh(arrived, delta & arrived.monotonic)
            begun_ns = np.where(start_ns > 0, start_ns, np.where(arrived.previous_ns > 0, arrived.previous_ns, time_ns))
            since_ns = np.where(delta, begun_ns, since_ns)
            adds = np.where(delta, fresh, adds)
            added[delta] = values[delta]
        gauge = ~arrived.monotonic
        if gauge.any():
            values = np.where(gauge & delta & is_known & self.continues[rows], last + values, values)
            added[gauge] = values[gauge]
            adds = np.where(gauge, ~is_known | newer | delta, adds)
            since_ns = np.where(gauge, time_ns, since_ns)
        self._remember(arrived, values, newer | (gauge & delta))
        self.touched_s[rows] = arrived.now_s
        kept = _where(adds & np.isfinite(added[:, 0] if self._shape else added))
        taken = Taken(
            rows=rows[kept],
            start_ns=since_ns[kept],
            end_ns=time_ns[kept],
            amounts=added[kept],
            gauge=gauge[kept],
            now_s=arrived.now_s[kept],
        )
        self._count(taken, arrived.request[kept])
        self._tell(taken)
        return taken

    def is_gauge(self, row: int) -> bool:
        """Whether the row has been one."""
        return bool(self.level_at[row] != UNKNOWN)

    def is_over(self, row: int, since_s: float) -> bool:
        """Whether a counter has not been reported since a time; a gauge may be constant, and left out for that."""
        return bool(self.touched_s[row] < since_s) and not self.is_gauge(row)

    def take_counted(self, rows: Ints) -> Floats:
        """What was added to the rows since this was last asked."""
        counted = self.counted[rows]
        self.counted[rows] = 0.0
        return counted

    def _risen(
        self, arrived: Arrived, start_ns: Ints, last_ns: Ints, last: Floats, watched_ns: int
    ) -> tuple[Ints, Bools, Bools]:
        """Of cumulative totals: since when they have risen, whether by a known amount, and whether that is the whole.

        A known sender sends all its totals each time: a new one began after its report before, however old the start
        time it claims. One that began before anyone here could watch says nothing yet.
        """
        is_known, previous_ns = last_ns != UNKNOWN, arrived.previous_ns
        reported = (previous_ns != UNKNOWN) & (previous_ns < arrived.time_ns)
        first_ns = np.where(reported, np.maximum(previous_ns, start_ns), np.where(start_ns >= watched_ns, start_ns, 0))
        fell: Bools = arrived.values < last
        fell_back: Bools = np.any(fell[:, 1:], axis=1) if self._shape else fell
        restarted = fell_back | (arrived.start_ns > self.last_start_ns[arrived.rows]) | ~self.continues[arrived.rows]
        begun_ns = np.where(restarted, np.maximum(start_ns, last_ns), last_ns)
        since_ns = np.where(is_known, begun_ns, first_ns)
        adds = np.where(is_known, arrived.time_ns > last_ns, first_ns > 0)
        return since_ns, adds, ~is_known | restarted

    def _remember(self, arrived: Arrived, values: Floats, latest: Bools) -> None:
        chosen = _where(latest)
        rows = arrived.rows[chosen]
        self.last_ns[rows] = np.maximum(self.last_ns[rows], arrived.time_ns[chosen])
        self.last_start_ns[rows] = arrived.start_ns[chosen]
        self.last[rows] = values[chosen]
        self.continues[rows] = True

    def _count(self, taken: Taken, request: Ints) -> None:
        rows, amounts, gauge = taken.rows, taken.amounts, taken.gauge
        if gauge.any():
            self.level[rows[gauge]], self.level_at[rows[gauge]] = amounts[gauge], request[gauge]
            rows, amounts = rows[~gauge], amounts[~gauge]
        self.total[rows] += amounts
        self.counted[rows] += amounts

    def _tell(self, taken: Taken) -> None:
        """Tell who listens; neighbours that share audience and interval, as of one metric, are told of once."""
        audience = self._audience[taken.rows]
        told = np.flatnonzero(audience)
        if not len(told):
            return
        columns = (audience[told], taken.gauge[told], taken.start_ns[told], taken.end_ns[told])
        changes = np.zeros(len(told) - 1, np.bool_)
        for column in columns:
            changes |= column[1:] != column[:-1]
        firsts = np.concatenate([[0], np.flatnonzero(changes) + 1])
        amounts = taken.amounts[told]
        numbers = np.add.reduceat(amounts[:, 1:].sum(axis=1) if self._shape else amounts, firsts)
        parts = (*(column[firsts] for column in columns), numbers, taken.now_s[told][firsts])
        for who, is_gauge, start_ns, end_ns, number, now_s in zip(*(part.tolist() for part in parts), strict=True):
            for listener, to_gauge in self._audiences[who]:
                if to_gauge == is_gauge:
                    listener(start_ns / 1e9, end_ns / 1e9, number, now_s)

    def _fresh(self, arrived: Arrived, delta: Bools) -> Bools:
        """Whether a delta point did not come before."""
        fresh = np.ones(len(delta), np.bool_)
        which = np.flatnonzero(delta)
        if not len(which):
            return fresh
        seen = np.array([self._seen_of(row) for row in arrived.rows[which].tolist()])
        start_ns, time_ns = arrived.start_ns[which], arrived.sent_ns[which]
        same = (self._seen[seen, :, 0] == start_ns[:, None]) & (self._seen[seen, :, 1] == time_ns[:, None])
        fresh[which] = new = ~same.any(axis=1)
        seen, start_ns, time_ns = seen[new], start_ns[new], time_ns[new]
        places = self._num_seen[seen] % NUM_REMEMBERED
        self._seen[seen, places, 0], self._seen[seen, places, 1] = start_ns, time_ns
        self._num_seen[seen] += 1
        return fresh

    def _seen_of(self, row: int) -> int:
        index = self._seen_by_row.get(row)
        if index is None:
            index = self._seen_by_row[row] = len(self._seen_by_row)
            if index >= len(self._seen):
                self._seen = _longer(self._seen, UNKNOWN)
                self._num_seen = _longer(self._num_seen, 0)
        return index

    def _new_row(self) -> int:
        row = self.num_rows
        if row >= len(self.last_ns):
            self.last_ns, self.last_start_ns = _longer(self.last_ns, UNKNOWN), _longer(self.last_start_ns, 0)
            self.last, self.total, self.counted = (_longer(each, 0) for each in (self.last, self.total, self.counted))
            self.continues, self._audience = _longer(self.continues, 0), _longer(self._audience, 0)
            self.touched_s = _longer(self.touched_s, 0)
            self.level, self.level_at = _longer(self.level, 0), _longer(self.level_at, UNKNOWN)
            self.stored = {name: _longer(each, UNKNOWN) for name, each in self.stored.items()}
        self.num_rows += 1
        return row


def _longer(column: NDArray, fill: float) -> NDArray:  # type: ignore[type-arg]  # any number
    """The column with room for half as many rows again."""
    room = np.full((max(64, len(column) // 2), *column.shape[1:]), fill, column.dtype)
    return np.concatenate([column, room])


def _where(flags: Bools) -> slice | Ints:
    """What chooses the flagged: all of them without a copy, as is usual."""
    return slice(None) if flags.all() else np.flatnonzero(flags)
