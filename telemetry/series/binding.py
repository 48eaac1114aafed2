"""Which row of which table each of a sender's points belongs to, within the limits of cardinality."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from telemetry.conventions import OVERFLOW
from telemetry.series.process import Bound, Process, Rows
from telemetry.series.stream import Key, Stream
from telemetry.series.table import Table
from telemetry.series.template import Histograms, Name, Numbers, Template

OVERFLOWN = ((OVERFLOW, True),)
"""The attributes of the series that stands for those that are too many
(https://opentelemetry.io/docs/specs/otel/metrics/sdk/#overflow-attribute).
"""
MAX_BOUND = 16
"""Templates of a process whose rows are remembered."""


class Binding:
    """All rows; at most `max_series` series, of one sender `max_sender_series` and one more for each of its metrics."""

    def __init__(self, *, max_series: int, max_sender_series: int) -> None:
        self.numbers = Table()
        self.histograms: dict[tuple[float, ...], Table] = {}
        """By the bounds of their buckets."""
        self.num_series = 0
        self.num_overflown = 0
        """Series that were counted in an overflow series instead of one of their own."""
        self._retired: list[tuple[Table, int]] = []
        """Rows that reports which wait may still name."""
        self._max_series = max_series
        self._max_sender_series = max_sender_series

    def bind(self, process: Process, template: Template) -> Bound:
        """Where the points of a request belong; remembered, unless there was no room for one."""
        known = process.bound.get(template)
        if known is not None:
            return known
        refused: Counter[str] = Counter()
        rounds: list[list[tuple[int, Rows]]] = []
        for index, part in enumerate(template.parts):
            for number, rows in enumerate(self._bind(process, part, refused)):
                if number == len(rounds):
                    rounds.append([])
                rounds[number].append((index, rows))
        reason = f"{next(iter(refused))}: {self._rule()}" if refused else ""
        bound = Bound(rounds=tuple(map(tuple, rounds)), num_refused=refused.total(), reason=reason)
        if not refused and not template.parsed:
            while len(process.bound) >= MAX_BOUND:
                del process.bound[next(iter(process.bound))]
            process.bound[template] = bound
        return bound

    def table(self, bounds: tuple[float, ...] | None) -> Table:
        """The table of histograms with these bounds, of numbers where they are None."""
        if bounds is None:
            return self.numbers
        table = self.histograms.get(bounds)
        if table is None:
            table = self.histograms[bounds] = Table(bounds)
        return table

    def add(self, process: Process, name: Name, table: Table, *, is_gauge: bool) -> int:
        """A row for a series that is new."""
        self.num_series += 1
        row = table.add_row(Key(process.origin.service, process.origin.instance, *name))
        self._place(process, name, table, row, is_gauge=is_gauge)
        return row

    def stream(self, process: Process, name: Name) -> Stream | None:
        """The exponential histogram of a name; None where there is no room for another one."""
        name = self._within_limit(process, name, name in process.streams)
        stream = process.streams.get(name)
        if stream is None and self.num_series < self._max_series:
            self.num_series += 1
            key = Key(process.origin.service, process.origin.instance, *name)
            stream = process.streams[name] = Stream(key=key)
        return stream

    def refusal(self, metric: str) -> str:
        """Why there is no room for a metric."""
        return f"{metric}: {self._rule()}"

    def release(self) -> None:
        """Give back rows that went out of use; no report waits."""
        for table, row in self._retired:
            table.free_row(row)
        self._retired.clear()

    def free(self, process: Process, names: Sequence[Name]) -> list[tuple[Table, int]]:
        """Forget some of a process's series; returns their rows."""
        rows = [process.places.pop(name) for name in names]
        for table, row in rows:
            table.free_row(row)
        self.num_series -= len(rows)
        process.bound.clear()
        return rows

    def _bind(self, process: Process, part: Numbers | Histograms, refused: Counter[str]) -> list[Rows]:
        """Rows for the points, in as many rounds as one series has points."""
        table = self.table(None if isinstance(part, Numbers) else part.bounds)
        found: list[list[tuple[int, int]]] = []
        num_of: Counter[int] = Counter()
        for point, name in enumerate(part.names):
            within = self._within_limit(process, name, name in process.places)
            row = self._row(process, within, table, is_gauge=not part.monotonic[point])
            if row is None:
                refused[name.metric] += 1
                continue
            turn = 0 if within.attributes == OVERFLOWN else num_of[row]
            num_of[row] += 1
            if turn == len(found):
                found.append([])
            found[turn].append((point, row))
        return [_rows(table, each, len(part.names)) for each in found]

    def _row(self, process: Process, name: Name, table: Table, *, is_gauge: bool) -> int | None:
        place = process.places.get(name)
        if place is not None and place[0] is table:
            return place[1]
        if place is None:
            return None if self.num_series >= self._max_series else self.add(process, name, table, is_gauge=is_gauge)
        old, old_row = place  # of another kind, or with other bounds, since now
        row = table.add_row(
            old.keys[old_row], last_ns=int(old.last_ns[old_row]), last_start_ns=int(old.last_start_ns[old_row])
        )
        process.service.drop_rows([place])
        self._retired.append(place)
        process.bound.clear()
        self._place(process, name, table, row, is_gauge=is_gauge)
        return row

    def _place(self, process: Process, name: Name, table: Table, row: int, *, is_gauge: bool) -> None:
        process.places[name] = table, row
        instance = process.service.instances[process.origin.instance]
        process.service.add_row(instance, name, table, row, is_gauge=is_gauge)

    def _within_limit(self, process: Process, name: Name, is_known: bool) -> Name:
        if is_known or process.num_series < self._max_sender_series:
            return name
        self.num_overflown += 1
        return name._replace(attributes=OVERFLOWN)

    def _rule(self) -> str:
        return (
            f"max_series must not exceed {self._max_series}; "
            "report fewer distinct attributes, or raise the collector's max_series"
        )


def _rows(table: Table, found: Sequence[tuple[int, int]], num_points: int) -> Rows:
    points, rows = np.array(found, np.int64).T
    unique, merged = np.unique(rows, return_inverse=True)
    is_merged = len(unique) < len(rows)
    return Rows(
        table=table,
        rows=unique if is_merged else rows,
        points=None if len(points) == num_points else points,
        merged=merged if is_merged else None,
    )
