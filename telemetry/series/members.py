"""The series of one metric that a service counts, and what they counted since the last frame."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from telemetry.receivers.attributes import Attributes
from telemetry.series.distribution import Buckets
from telemetry.series.instance import Instance
from telemetry.series.table import Floats, Ints, Table


class Member(NamedTuple):
    """Who counts, and with which attributes."""

    instance: Instance
    attributes: Attributes


class Members:
    """The rows of one metric, by table."""

    def __init__(self) -> None:
        self._rows: dict[Table, dict[int, Member]] = defaultdict(dict)
        self._indexes: dict[Table, Ints] = {}

    def add(self, table: Table, row: int, member: Member) -> None:
        """Count a row from now on."""
        self._rows[table][row] = member
        self._indexes.pop(table, None)

    def drop(self, places: Collection[tuple[Table, int]]) -> None:
        """Count these rows no more."""
        for table, row in places:
            if self._rows[table].pop(row, None):
                self._indexes.pop(table, None)

    def take(self) -> Iterator[tuple[Table, list[Member], Floats]]:
        """What was counted since this was last asked: by table, each row's, (n) or (n, 1 + buckets)."""
        for table, rows in self._rows.items():
            if not rows:
                continue
            index = self._indexes.get(table)
            if index is None:
                index = self._indexes[table] = np.fromiter(rows, np.int64, len(rows))
            yield table, list(rows.values()), table.take_counted(index)


def buckets(bounds: tuple[float, ...], counted: Floats) -> Buckets:
    """A row of a histogram: its sum, then its counts."""
    counts = counted[1:]
    held = np.flatnonzero(counts)
    return Buckets(
        counts=dict(zip(held.tolist(), counts[held].astype(np.int64).tolist(), strict=True)),
        total=float(counted[0]),
        bounds=bounds,
    )
