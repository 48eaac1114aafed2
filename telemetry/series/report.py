"""What one process reported in one request, read and waiting to be settled."""

from dataclasses import dataclass

import numpy as np

from telemetry.receivers.origin import Origin
from telemetry.receivers.points import Point
from telemetry.series.process import Bound, Process, Rows
from telemetry.series.stream import Stream
from telemetry.series.table import UNKNOWN, Bools, Floats, Ints, Table
from telemetry.series.template import Histograms, Numbers, Template, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """n points, each of another row of a table; times as the sender gave them."""

    table: Table
    rows: Ints
    time_ns: Ints
    start_ns: Ints
    values: Floats
    monotonic: Bools
    delta: Bools


@dataclass(slots=True, kw_only=True)
class Report:
    """What one process reported in one request."""

    process: Process
    origin: Origin
    now_s: float
    number: int
    rounds: list[list[Part]]
    """Taken one after the other: in each, a series has one point at most."""
    streams: list[tuple[Stream, Point]]
    offset_ns: int = 0
    previous_ns: int = UNKNOWN


def read(template: Template, bound: Bound, metrics: bytes) -> tuple[list[list[Part]], list[str]]:
    """The points of a request that a template describes, in rounds, and why others are refused."""
    refused: list[str] = []
    found = words(metrics)
    values = [_values(part, found) for part in template.parts]
    rounds = []
    for each in bound.rounds:
        parts = [_part(template.parts[index], *values[index], rows, refused) for index, rows in each]
        rounds.append([part for part in parts if len(part.rows)])
    return rounds, refused


def _values(part: Numbers | Histograms, found: Ints) -> tuple[Ints, Ints, Floats]:
    raw = found[part.places]
    if isinstance(part, Numbers):
        values = np.where(part.is_int, raw[2], raw[2].view(np.float64))
        return raw[0], raw[1], values * part.scale if part.is_scaled else values
    values = np.empty((raw.shape[1], len(raw) - 2))
    values[:, 0] = raw[2].view(np.float64)
    values[:, 1:] = raw[3:].view(np.uint64).T
    if part.scale != 1.0:
        values[:, 0] *= part.scale
    return raw[0], raw[1], values


def _part(
    part: Numbers | Histograms, time_ns: Ints, start_ns: Ints, values: Floats, rows: Rows, refused: list[str]
) -> Part:
    monotonic, delta, index = part.monotonic, part.delta, rows.rows
    points, merged = rows.points, rows.merged
    finite = np.isfinite(values if values.ndim == 1 else values[:, 0])
    if not finite.all():
        chosen = np.arange(len(finite)) if points is None else points
        fine = finite[chosen]
        numbers = values if values.ndim == 1 else values[:, 0]
        refused += [
            f"{part.names[point].metric}: values must be finite, got {numbers[point]}"
            for point in chosen[~fine].tolist()
        ]
        points = chosen[fine]
        if merged is None:
            index = index[fine]
        else:
            kept, merged = np.unique(merged[fine], return_inverse=True)
            index = index[kept]
    if points is not None:
        time_ns, start_ns, values = time_ns[points], start_ns[points], values[points]
        monotonic, delta = monotonic[points], delta[points]
    if merged is not None:
        return _merged(rows.table, index, merged, time_ns, start_ns, values, monotonic, delta)
    return Part(
        table=rows.table,
        rows=index,
        time_ns=time_ns,
        start_ns=start_ns,
        values=values,
        monotonic=monotonic,
        delta=delta,
    )


def _merged(
    table: Table,
    rows: Ints,
    merged: Ints,
    time_ns: Ints,
    start_ns: Ints,
    values: Floats,
    monotonic: Bools,
    delta: Bools,
) -> Part:
    """Points that share an overflow series, added up; of a gauge the last one is kept, as the SDKs do."""
    num = len(rows)
    latest, earliest = np.zeros(num, np.int64), np.full(num, np.iinfo(np.int64).max)
    np.maximum.at(latest, merged, time_ns)
    np.minimum.at(earliest, merged, start_ns)
    total = np.zeros((num, *values.shape[1:]))
    np.add.at(total, merged, values)
    last = np.zeros(num, np.int64)
    last[merged] = np.arange(len(merged))
    gauge = ~monotonic[last] & ~delta[last]
    total[gauge] = values[last[gauge]]
    return Part(
        table=table,
        rows=rows,
        time_ns=latest,
        start_ns=earliest,
        values=total,
        monotonic=monotonic[last],
        delta=delta[last],
    )
