"""Which series there are: each has a number, by which its points are kept."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from telemetry.receivers.points import Scope
from telemetry.series.stream import Key
from telemetry.storage.database import Database

Kind = Literal["gauge", "counter", "histogram"]
KINDS: tuple[Kind, ...] = ("gauge", "counter", "histogram")

GROUP = 64
"""Series whose points share a block: those of one kind that came one after the other."""
_SELECT = """
SELECT id, kind, key FROM series
WHERE metric = ifnull(?1, metric) AND service = ifnull(?2, service) AND seen_ms >= ?3 AND first_ms <= ?4
"""
_NUMBERS = "SELECT key, id FROM series WHERE kind = ? AND key IN (SELECT value FROM json_each(?))"
MAX_CACHED = 100_000
SEEN_EVERY_MS = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series of those that are kept."""

    id: int
    key: Key
    kind: Kind


class Catalogue:
    """Numbers series; what it holds in memory is what was used lately and what is not on disk yet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: dict[tuple[Key, Kind], int] = {}
        self._known: dict[int, Series] = {}
        self._new: dict[int, None] = {}
        self._seen_ms: dict[int, int] = {}
        self._open: dict[Kind, int] = {}
        """The next number of each kind, while its group has room."""
        last = database.read(lambda connection: connection.execute("SELECT max(id) FROM series").fetchone()[0])
        self._num_rounds = 0 if last is None else last // (GROUP * len(KINDS)) + 1

    def series_ids(self, keys: Sequence[Key], kind: Kind) -> list[int]:
        """The number of each of some series of one kind, new ones where they were not known."""
        unknown = {key: text_of(key) for key in keys if (key, kind) not in self._ids}
        kept = self._kept(list(unknown.values()), kind) if unknown else {}
        for key, text in unknown.items():
            number = kept.get(text)
            if number is None:
                number = self._next(kind)
                self._new[number] = None
            self._ids[key, kind] = number
            self._known[number] = Series(id=number, key=key, kind=kind)
        return [self._ids[key, kind] for key in keys]

    def write(self, connection: sqlite3.Connection, ids: Iterable[int], time_ms: int, first_ms: int) -> list[int]:
        """Write down new series, whose points begin at `first_ms`, and that those of `ids` were seen.

        Returns what `written` is to be called with.
        """
        new = list(self._new)
        for number in new:
            each = self._known[number]
            connection.execute(
                "INSERT OR IGNORE INTO series VALUES (?, ?, ?, ?, ?, ?, ?)",
                (number, each.kind, each.key.service, each.key.metric, text_of(each.key), first_ms, time_ms),
            )
        old = [number for number in ids if time_ms - self._seen_ms.get(number, 0) >= SEEN_EVERY_MS]
        connection.executemany("UPDATE series SET seen_ms = ? WHERE id = ?", [(time_ms, number) for number in old])
        return [*new, *old]

    def written(self, numbers: Iterable[int], time_ms: int) -> None:
        """What `write` wrote is on disk."""
        for number in numbers:
            self._new.pop(number, None)
            self._seen_ms[number] = time_ms
        if len(self._ids) > MAX_CACHED:
            self._forget(time_ms)

    def write_all_again(self) -> None:
        """The file is a new one: what is known is to be written again."""
        self._new = dict.fromkeys(self._known)
        self._seen_ms.clear()

    def select(
        self,
        metric: str | None,
        service: str | None,
        where: Callable[[Key], bool] | None,
        start_s: float,
        end_s: float,
    ) -> list[Series]:
        """Series that may have points in a range."""
        asked = (metric, service, start_s * 1e3 - 2 * SEEN_EVERY_MS, end_s * 1e3)
        found = self._database.read(lambda connection: connection.execute(_SELECT, asked).fetchall()) or []
        series = {number: Series(id=number, key=key_of(text), kind=kind) for number, kind, text in found}
        for number in list(self._new):
            each = self._known.get(number)
            if each and metric in (None, each.key.metric) and service in (None, each.key.service):
                series[number] = each
        return [each for each in series.values() if where is None or where(each.key)]

    def _kept(self, texts: list[str], kind: Kind) -> dict[str, int]:
        """The numbers of those that are on disk."""
        asked = kind, orjson.dumps(texts).decode()
        return dict(self._database.read(lambda connection: connection.execute(_NUMBERS, asked).fetchall()) or ())

    def _next(self, kind: Kind) -> int:
        number = self._open.get(kind)
        if number is None:
            number = (self._num_rounds * len(KINDS) + KINDS.index(kind)) * GROUP
            self._num_rounds += 1
        self._open[kind] = number + 1
        if (number + 1) % GROUP == 0:
            del self._open[kind]
        return number

    def _forget(self, time_ms: int) -> None:
        """Drop what was not written to for an hour; it is on disk and found there."""
        for number, seen_ms in list(self._seen_ms.items()):
            if time_ms - seen_ms > 3_600_000 and number not in self._new:
                del self._seen_ms[number]
                if each := self._known.pop(number, None):
                    del self._ids[each.key, each.kind]


def kind_of(group: int) -> Kind:
    """What the series of a group are."""
    return KINDS[group % len(KINDS)]


def text_of(key: Key) -> str:
    """A series as text, by which it is found again."""
    return orjson.dumps([key.service, key.instance, list(key.scope), key.metric, key.attributes]).decode()


def key_of(text: str) -> Key:
    """The series that `text_of` wrote."""
    service, instance, (name, version, within), metric, attributes = orjson.loads(text)
    return Key(service, instance, Scope(name, version, _pairs(within)), metric, _pairs(attributes))


def _pairs(pairs: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in pairs)
