"""The lines of a plot: a signal of a service, or one metric of each of its processes, on a grid of times."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from telemetry import conventions as names
from telemetry.page.grid import Floats, Grid
from telemetry.page.sources import Json, Range, Sources
from telemetry.receivers.attributes import Attributes
from telemetry.series.instance import NUM_MISSED
from telemetry.series.service import Service
from telemetry.series.signals import training_step
from telemetry.series.stream import Stream
from telemetry.series.track import Track

MAX_INSTANCES = 8
"""Lines of one plot that stand for an instance; the latest to report are shown."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points in the order of time, and the value now: the same on a card, in a legend and at the line's end."""

    label: str
    times: Floats
    values: Floats
    last: float | None
    signal: str = ""


def of_signal(service: Service, signal: str, label: str, shown: Range, now_s: float) -> Line | None:
    """A service's signal, None where it has none of that name."""
    track = service.history.get(signal)
    if track is None:
        return None
    times, values = _points(track)
    live = shown.is_live(now_s)
    return Line(
        label=label,
        times=times,
        values=values,
        last=last_value(signal, track) if live else _last_before(times, values, shown),
        signal=signal,
    )


def of_instances(sources: Sources, service: Service, metric: str, shown: Range) -> list[Line]:
    """A line for each instance where there are several; of a training, for the step it is in."""
    now_s = sources.clock()
    step = training_step(service.alive(now_s) or list(service.instances.values()))
    found = [each for each in sources.series.of(service.name, metric) if _step(each.key.attributes) in ("", step)]
    if len(found) < 2:
        return []
    found = sorted(found, key=lambda each: -each.touched_s)[:MAX_INSTANCES]
    lines = [of_stream(each, _label(each), shown, now_s, NUM_MISSED * service.interval_s) for each in found]
    return sorted(lines, key=lambda line: line.label)


def of_stream(stream: Stream, label: str, shown: Range, now_s: float, silent_s: float) -> Line:
    """One series; its value now only where it was heard of in the last `silent_s`."""
    times, values = _points(stream.track)
    if not shown.is_live(now_s):
        last = _last_before(times, values, shown)
    else:
        last = last_value("", stream.track) if stream.touched_s >= now_s - silent_s else None
    return Line(label=label, times=times, values=values, last=last)


def last_value(signal: str, track: Track) -> float | None:
    """The value now; of a training that ended, where it ended."""
    values = track.values[-10:] if signal.startswith("train_") else track.values[-1:]
    return next((value for value in reversed(values) if math.isfinite(value)), None)


def drawn(lines: Iterable[Line], grid: Grid, shown: Range, *, peak: bool) -> list[Json]:
    """The lines that have anything to draw, in columns; `low` and `high` where a point covers several values."""
    return [column for line in lines if (column := _column(line, grid, shown, peak=peak))]


def _column(line: Line, grid: Grid, shown: Range, *, peak: bool) -> Json | None:
    now = grid.draw(line.times, line.values, peak=peak)
    before = None
    if shown.compare_s:
        before = grid.earlier(shown.compare_s).draw(line.times, line.values, peak=peak)
    if now.empty and (before is None or before.empty):
        return None
    column: Json = {"label": line.label, "values": now.values, "last": line.last}
    filled = np.flatnonzero(np.isfinite(now.values))
    if line.last is not None and len(filled):
        now.values[filled[-1]] = line.last
    if not np.array_equal(now.low, now.high, equal_nan=True):
        column |= {"low": now.low, "high": now.high}
    if before is not None and not before.empty:
        column["before"] = before.values
    return column


def _points(track: Track) -> tuple[Floats, Floats]:
    return np.array(track.times), np.array(track.values)


def _last_before(times: Floats, values: Floats, shown: Range) -> float | None:
    first, end = np.searchsorted(times, [shown.since_s, shown.until_s], side="right")
    known = values[first:end][np.isfinite(values[first:end])]
    return float(known[-1]) if len(known) else None


def _step(attributes: Attributes) -> str:
    return str(dict(attributes).get(names.STEP, ""))


def _label(stream: Stream) -> str:
    rank = dict(stream.key.attributes).get(names.RANK)
    return f"rank {rank}" if rank is not None else short(stream.key.instance)


def short(instance: str) -> str:
    """An instance's name where there is little room."""
    return instance[-12:]
