"""Reads and writes the blocks of points, by level: as they came, merged by the hour, by the minute."""

import logging
import sqlite3
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from telemetry.storage.block import Block, DamagedBlockError, Floats, Ids, Ints, decoded, encoded, joined, starts_of
from telemetry.storage.catalogue import GROUP, kind_of
from telemetry.storage.minutes import minutes

logger = logging.getLogger(__name__)

RAW, HOURS, MINUTES = 0, 1, 2
HOUR_MS = 3_600_000
MINUTES_BETWEEN_MS = 60_000
"""Between two looks for what is to be merged or removed."""
LATE_MS = 300_000
"""An hour is merged that long after its end: so late its last points may come."""


class Work(NamedTuple):
    """A group's hour that is to be merged."""

    group: int
    hour_ms: int


def write(connection: sqlite3.Connection, level: int, block: Block) -> None:
    """Write an ordered block, a row for each group of series."""
    groups = block.ids // GROUP
    for first, end in pairwise([*starts_of(groups).tolist(), len(block)]):
        part = block.taken(slice(first, end))
        times = part.times_ms
        connection.execute(
            "INSERT INTO points (level, grp, start_ms, end_ms, num, block) VALUES (?, ?, ?, ?, ?, ?)",
            (level, int(groups[first]), int(times.min()), int(times.max()), len(part), encoded(part)),
        )


def read(connection: sqlite3.Connection, ids: Ids, start_ms: int, end_ms: int, *, by_minute: bool) -> list[Block]:
    """The blocks' points of `ids` in a range, inclusive.

    By the minute where that is asked for, or where nothing else is left; what is not merged yet comes as it came.
    """
    found: list[Block] = []
    for group in np.unique(ids // GROUP).tolist():
        asked = np.zeros(GROUP, np.bool_)
        asked[ids[ids // GROUP == group] % GROUP] = True
        rows = connection.execute(
            "SELECT id, level, start_ms, end_ms FROM points WHERE grp = ? AND start_ms <= ? AND end_ms >= ?"
            " ORDER BY start_ms",
            (group, end_ms, start_ms - HOUR_MS),
        ).fetchall()
        hours = [start // HOUR_MS for _, level, start, _ in rows if level == HOURS]
        for number, level, start, end in rows:
            wanted = level == RAW or (level == MINUTES) == (by_minute or start // HOUR_MS not in hours)
            if wanted and end >= start_ms and (block := _block(connection, number)):
                inside = (block.times_ms >= start_ms) & (block.times_ms <= end_ms) & asked[block.ids % GROUP]
                found.append(block if inside.all() else block.taken(inside))
    return [block for block in found if len(block)]


def due(connection: sqlite3.Connection, now_ms: int) -> list[Work]:
    """The oldest hour of each group that is over and not merged."""
    horizon = (now_ms - LATE_MS) // HOUR_MS * HOUR_MS
    rows = connection.execute(
        "SELECT grp, min(start_ms) FROM points WHERE level = ? AND start_ms < ? GROUP BY grp", (RAW, horizon)
    )
    return [Work(group, start_ms // HOUR_MS * HOUR_MS) for group, start_ms in rows]


def merge(connection: sqlite3.Connection, work: Work) -> None:
    """Put an hour of a group in one block, and its minutes in another."""
    end_ms = work.hour_ms + HOUR_MS
    rows = connection.execute(
        "SELECT id FROM points WHERE grp = ? AND level = ? AND start_ms < ?", (work.group, RAW, end_ms)
    ).fetchall()
    numbers = [number for (number,) in rows]
    alike: dict[object, list[Block]] = {}
    for number in numbers:
        if block := _block(connection, number):
            alike.setdefault(block.layout, []).append(block)
    connection.executemany("DELETE FROM points WHERE id = ?", [(number,) for number in numbers])
    for blocks in alike.values():
        block = joined(blocks)
        is_over = block.times_ms < end_ms
        hour = block.taken(is_over)
        if len(hour):
            write(connection, HOURS, hour)
            write(connection, MINUTES, minutes(hour, kind_of(work.group)))
        write(connection, RAW, block.taken(~is_over))


def _block(connection: sqlite3.Connection, number: int) -> Block | None:
    row = connection.execute("SELECT block FROM points WHERE id = ?", (number,)).fetchone()
    if row is None:  # removed meanwhile
        return None
    try:
        return decoded(row[0])
    except DamagedBlockError as error:
        logger.error("a block of points is damaged and is left out: %s", error)
        return None


class Points(NamedTuple):
    """One series' numbers in the order of time; where a point stands for a minute, what they were within it."""

    times: Floats
    """Unix seconds."""
    values: Floats
    low: Floats
    high: Floats


class Histograms(NamedTuple):
    """One series' bucket totals with one layout, in the order of time."""

    times: Floats
    counts: Ints
    """(points, buckets)"""
    totals: Floats
    """The sum of all values."""


def points_of(blocks: Sequence[Block]) -> dict[int, Points]:
    """Each series' numbers, of blocks that may overlap."""
    wide = [_widened(block) for block in blocks if block.counts is None]
    if not wide:
        return {}
    block = joined(wide)
    mean, low, high = block.columns
    return {
        number: Points(block.times_ms[rows] / 1e3, mean[rows], low[rows], high[rows])
        for number, rows in _by_series(block.ids)
    }


def histograms_of(blocks: list[Block]) -> dict[int, Histograms]:
    """Each series' bucket totals, of blocks of one layout that may overlap."""
    block = joined(blocks)
    assert block.counts is not None
    return {
        number: Histograms(block.times_ms[rows] / 1e3, block.counts[rows], block.columns[0][rows])
        for number, rows in _by_series(block.ids)
    }


def _by_series(ids: Ids) -> list[tuple[int, slice]]:
    bounds = [*starts_of(ids).tolist(), len(ids)]
    return [(int(ids[first]), slice(first, end)) for first, end in pairwise(bounds)]


def _widened(block: Block) -> Block:
    if len(block.columns) == 3:
        return block
    return Block(ids=block.ids, times_ms=block.times_ms, columns=block.columns * 3)
