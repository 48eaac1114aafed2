"""The signals of services over time, on disk: what a page or a report draws of any range, and what is usual beside it.

A signal is a gauge of a scope of its own; its expected range has its name with `.low` and `.high`.
"""

import math
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from telemetry.receivers.points import Scope
from telemetry.series.service import Service
from telemetry.series.stream import Key
from telemetry.storage.points import Points
from telemetry.storage.storage import Storage

SCOPE = Scope("trimtab.signals")
LOW, HIGH = ".low", ".high"


class RecordedSignals:
    """Writes and reads the signals of all services."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._ids: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._has_value: defaultdict[str, set[str]] = defaultdict(set)
        """Signals of each service whose last point is a number."""

    def record(self, service: str, time_s: float, signals: Mapping[str, float]) -> None:
        """Keep what the signals are now; of one that says nothing, its end."""
        had, ids = self._has_value[service], self._ids[service]
        new = {name: value for name, value in signals.items() if name in had or not math.isnan(value)}
        if not new:
            return
        for name in new.keys() - ids.keys():
            ids[name] = self._storage.series_id(_key(service, name), "gauge")
        numbers = np.fromiter((ids[name] for name in new), np.int64, len(new))
        self._storage.append(numbers, time_s, np.fromiter(new.values(), np.float64, len(new)))
        self._has_value[service] = {name for name, value in new.items() if not math.isnan(value)} | (had - new.keys())

    def expect(self, service: str, time_s: float, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Keep between what values each signal is expected now; an end that is not known yet says nothing."""
        ends = {
            name + end: value if math.isfinite(value) else math.nan
            for name, range_ in ranges.items()
            for end, value in zip((LOW, HIGH), range_, strict=True)
        }
        self.record(service, time_s, ends)

    def end(self, service: str, time_s: float) -> None:
        """Keep that the service's signals end, so that a plot shows a gap and not a last value for ever."""
        self.record(service, time_s, dict.fromkeys(self._has_value[service], math.nan))

    def recall(self, service: Service, start_s: float, end_s: float) -> None:
        """Fill a service's history with what was recorded of it before this process began."""
        for name, points in self.read(service.name, start_s, end_s).items():
            if not name.endswith((LOW, HIGH)) and name not in service.history:
                service.remember(name, points.times, points.values)

    def read(self, service: str, start_s: float, end_s: float, *, step_s: float = 0.0) -> dict[str, Points]:
        """Each signal's points in a range, and its expected ranges'; by the minute where `step_s` is one and more."""
        found = self._storage.select(service=service, where=_is_signal, start_s=start_s, end_s=end_s)
        names = {each.id: each.key.metric for each in found}
        points = self._storage.read_many(names, start_s, end_s, step_s=step_s)
        return {names[number]: each for number, each in points.items()}

    def services(self, start_s: float, end_s: float) -> list[str]:
        """Those that may have signals in a range."""
        found = self._storage.select(where=_is_signal, start_s=start_s, end_s=end_s)
        return sorted({each.key.service for each in found})


def _key(service: str, signal: str) -> Key:
    return Key(service, "", SCOPE, signal, ())


def _is_signal(key: Key) -> bool:
    return key.scope.name == SCOPE.name
