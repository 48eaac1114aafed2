"""The lines of a plot: a signal of a service, or one metric of each of its processes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry import conventions as names
from telemetry.page.sources import Sources
from telemetry.page.stored import signal_key, stored
from telemetry.receivers.attributes import Attributes
from telemetry.series.instance import NUM_MISSED
from telemetry.series.recording import Plotted
from telemetry.series.service import Service
from telemetry.series.signals import training_step
from telemetry.series.stream import Key
from telemetry.series.track import Track
from telemetry.storage.points import Points
from telemetry.storage.storage import NO_POINTS, Storage

RECENT = 20
"""Points by which it is told how often they come."""
MAX_INSTANCES = 8
"""Lines of one plot that stand for an instance; the latest to report are shown."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is in memory of a line, and what storage knows it by: all that is needed to draw it in another thread."""

    label: str
    key: Key
    recent: Points = NO_POINTS
    last: float | None = None
    """The value now of a signal; that of a series is its last point, as long as it is heard of."""
    is_signal: bool = False
    touched_s: float = math.inf
    """When a series was reported last."""
    interval_s: float = 0.0
    """Seconds between its sender's reports."""

    def spacing_s(self, points: Points) -> float:
        """Seconds between its points: some series come more seldom than their sender reports."""
        gaps = np.diff(points.times[-RECENT:])
        return max(self.interval_s, float(np.median(gaps)) if len(gaps) and not self.is_signal else 0.0)

    def now(self, points: Points, now_s: float) -> float | None:
        """Its value now, given its latest points."""
        if self.is_signal:
            return self.last
        if self.touched_s < now_s - NUM_MISSED * self.spacing_s(points) or not len(points.values):
            return None
        return float(points.values[-1]) if math.isfinite(points.values[-1]) else None


def of_signal(name: str, service: Service | None, signal: str, label: str) -> Line:
    """A service's signal; where the service is not in memory, or has not this one, what storage has of it."""
    key = signal_key(name, signal)
    track = service.history.get(signal) if service else None
    if track is None:
        return Line(label=label, key=key, is_signal=True)
    return Line(label=label, key=key, recent=_points(track), last=last_value(signal, track), is_signal=True)


def of_instances(sources: Sources, service: Service, metric: str) -> list[Line]:
    """A line for each instance where there are several; of a training, for the step it is in."""
    now_s = sources.clock()
    step = training_step(service.alive(now_s) or list(service.instances.values()))
    found = sources.series.plotted(lambda key: (key.service, key.metric) == (service.name, metric))
    found = [each for each in found if _step(each.key.attributes) in ("", step)]
    if len(found) < 2:
        return []
    found = sorted(found, key=lambda each: -each.touched_s)[:MAX_INSTANCES]
    lines = [of_stream(each, _label(each), service.interval_s) for each in found]
    return sorted(lines, key=lambda line: line.label)


def of_stream(stream: Plotted, label: str, interval_s: float) -> Line:
    """One series of a sender that reports every `interval_s`; its points are read with those of all others."""
    return Line(label=label, key=stream.key, touched_s=stream.touched_s, interval_s=interval_s)


def last_value(signal: str, track: Track) -> float | None:
    """The value now; of a training that ended, where it ended."""
    values = track.values[-10:] if signal.startswith("train_") else track.values[-1:]
    return next((value for value in reversed(values) if math.isfinite(value)), None)


def read(
    lines: Sequence[Line], storage: Storage | None, start_s: float, end_s: float, *, step_s: float
) -> list[Points]:
    """The points of each line in a range: from memory, and before what that holds from storage."""
    begin_s = [float(line.recent.times[0]) if len(line.recent.times) else math.inf for line in lines]
    missing = [at for at, time_s in enumerate(begin_s) if time_s > start_s]
    if storage is None or not missing:
        return [line.recent for line in lines]
    until_s = min(end_s, max(begin_s[at] for at in missing))
    older = stored(storage, [lines[at].key for at in missing], start_s, until_s, step_s=step_s)
    return [_joined(older.get(line.key, NO_POINTS), line.recent) for line in lines]


def short(instance: str) -> str:
    """An instance's name where there is little room."""
    return instance[-12:]


def _joined(older: Points, recent: Points) -> Points:
    """Both, of what both hold the recent one."""
    if not len(older.times) or not len(recent.times):
        return recent if len(recent.times) else older
    num = int(np.searchsorted(older.times, recent.times[0]))
    return Points(*(np.concatenate([old[:num], new]) for old, new in zip(older, recent, strict=True)))


def _points(track: Track) -> Points:
    values = np.array(track.values)
    return Points(np.array(track.times), values, values, values)


def _step(attributes: Attributes) -> str:
    return str(dict(attributes).get(names.STEP, ""))


def _label(stream: Plotted) -> str:
    rank = dict(stream.key.attributes).get(names.RANK)
    return f"rank {rank}" if rank is not None else short(stream.key.instance)
