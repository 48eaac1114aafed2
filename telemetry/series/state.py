"""What the series must know to go on after a restart: the latest totals, who reported them, by which clock."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from telemetry.receivers.origin import Origin
from telemetry.receivers.points import Point, Scope
from telemetry.series.binding import Binding
from telemetry.series.distribution import Buckets
from telemetry.series.process import Process
from telemetry.series.table import UNKNOWN
from telemetry.series.template import Name

_LENGTH = struct.Struct("<Q")
_COLUMNS = ("last_ns", "last_start_ns", "last", "continues", "total", "level", "level_at", "touched_s")

Meet = Callable[[Origin, float], Process]
"""Gives the process of an origin, which was seen last at a time."""


def dump(processes: list[Process], binding: Binding, units: dict[str, str]) -> bytes:
    """All processes and their series, and the metrics' units: what is text as JSON, then the columns of each table."""
    tables = [binding.numbers, *binding.histograms.values()]
    rows: list[list[int]] = [[] for _ in tables]
    index = {table: number for number, table in enumerate(tables)}
    described = []
    for process in processes:
        names = []
        for name, (table, row) in process.places.items():
            rows[index[table]].append(row)
            names.append((_raw(name), index[table], bool(table.level_at[row] != UNKNOWN)))
        instance = process.service.instances[process.origin.instance]
        described.append(
            {
                "origin": tuple(process.origin),
                "seen_s": process.seen_s,
                "last_ns": process.last_ns,
                "offset_ns": process.clock.offset_ns,
                "latest_s": instance.latest_s,
                "interval_s": instance.interval_s,
                "is_early": instance.is_early,
                "ended_s": instance.ended_s,
                "names": names,
                "streams": [
                    (_raw(name), [stream.last.start_ns, stream.last.time_ns, _plain(stream.last.value)])
                    for name, stream in process.streams.items()
                    if stream.last is not None and not stream.last.delta
                ],
            }
        )
    header = orjson.dumps({"bounds": [table.bounds for table in tables], "processes": described, "units": units})
    columns = [getattr(table, name)[each] for table, each in zip(tables, rows, strict=True) for name in _COLUMNS]
    return b"".join([_LENGTH.pack(len(header)), header, *(column.tobytes() for column in columns)])


def load(state: bytes, meet: Meet, binding: Binding) -> dict[str, str]:
    """Go on from what `dump` gave, of which it returns the units; there must be no series yet."""
    (length,) = _LENGTH.unpack_from(state)
    said = orjson.loads(state[_LENGTH.size : _LENGTH.size + length])
    tables = [binding.table(None if bounds is None else tuple(bounds)) for bounds in said["bounds"]]
    rows: list[list[int]] = [[] for _ in tables]
    for each in said["processes"]:
        process = meet(Origin(*each["origin"]), each["seen_s"])
        process.last_ns, process.clock.offset_ns = each["last_ns"], each["offset_ns"]
        instance = process.service.instances[process.origin.instance]
        instance.latest_s, instance.interval_s = each["latest_s"], each["interval_s"]
        instance.is_early, instance.ended_s = each.get("is_early", False), each.get("ended_s", 0.0)
        for name, number, is_gauge in each["names"]:
            rows[number].append(binding.add(process, _name(name), tables[number], is_gauge=is_gauge))
        for raw, last in each["streams"]:
            name = _name(raw)
            if (stream := binding.stream(process, name)) is not None:
                stream.last = _point(name, last)
    at = _LENGTH.size + length
    for table, found in zip(tables, rows, strict=True):
        index = np.array(found, np.int64)
        for column_name in _COLUMNS:
            column = getattr(table, column_name)
            shape = (len(found), *column.shape[1:])
            values = np.frombuffer(state, column.dtype, int(np.prod(shape)), at).reshape(shape)
            column[index] = values
            at += values.nbytes
        table.level_at[index] = np.minimum(table.level_at[index], 0)  # requests are counted anew
    return dict(said.get("units", {}))


def _raw(name: Name) -> tuple[Any, ...]:
    return tuple(name.scope), name.metric, name.attributes


def _name(raw: list[Any]) -> Name:
    (scope, version, described), metric, attributes = raw
    return Name(Scope(scope, version, _pairs(described)), metric, _pairs(attributes))


def _pairs(raw: list[list[Any]]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, value) for key, value in raw)


def _plain(value: float | Buckets) -> list[Any]:
    assert isinstance(value, Buckets), "numbers have rows"
    return [list(value.counts.items()), value.total, value.scale, value.unit]


def _point(name: Name, last: list[Any]) -> Point:
    start_ns, time_ns, (counts, total, scale, unit) = last
    value = Buckets(counts=dict(counts), total=total, scale=scale, unit=unit)
    return Point(
        metric=name.metric,
        attributes=name.attributes,
        start_ns=start_ns,
        time_ns=time_ns,
        value=value,
        monotonic=True,
    )
