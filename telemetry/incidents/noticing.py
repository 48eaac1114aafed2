"""Notices what changes in a service: versions, processes, nodes, load."""

from collections import deque
from statistics import median

from telemetry.incidents.changes import Change, Changes, Kind
from telemetry.series.frame import Frame

LOAD_RATIO = 1.5
"""Times the usual requests from which more of them are a change."""
MINUTE_S, MINUTES, FEWEST_MINUTES = 60.0, 30, 5
LEAST_RATE = 1.0
"""Requests per second below which a rise explains nothing."""


class Noticer:
    """Compares each frame with those before; the first says what there is, and that is no change."""

    def __init__(self, service: str, changes: Changes) -> None:
        self._service, self._changes = service, changes
        self._versions: dict[str, None] = {}
        self._hosts: frozenset[str] = frozenset()
        self._number = 0
        self._minute: list[float] = []
        self._minute_began_s = 0.0
        self._minutes: deque[float] = deque(maxlen=MINUTES)
        self._was_high = False

    def see(self, frame: Frame) -> None:
        """Note what is new in `frame`."""
        self._see_versions(frame)
        self._see_processes(frame)
        self._see_load(frame)

    def _see_versions(self, frame: Frame) -> None:
        versions = {each.version for each in frame.instances.values() if each.version}
        new = sorted(versions - self._versions.keys())
        if new and self._versions:
            before = ", ".join(sorted(self._versions))
            self._add(frame, "version", f"version {', '.join(new)} after {before}")
        if versions:
            self._versions = dict.fromkeys(versions)

    def _see_processes(self, frame: Frame) -> None:
        hosts = frozenset(each.host for each in frame.instances.values() if each.host)
        number = len(frame.instances)
        if self._number and number != self._number:
            self._add(frame, "instances", f"{number} processes after {self._number}")
        if self._hosts and (new := hosts - self._hosts):
            self._add(frame, "node", f"it runs on {', '.join(sorted(new))} as well")
        if self._hosts and (gone := self._hosts - hosts):
            self._add(frame, "node", f"it no longer runs on {', '.join(sorted(gone))}")
        self._number, self._hosts = number, hosts

    def _see_load(self, frame: Frame) -> None:
        if not self._minute:
            self._minute_began_s = frame.steady_s
        self._minute.append(frame.num_requests / frame.interval_s)
        if frame.steady_s - self._minute_began_s < MINUTE_S:
            return
        rate, self._minute = sum(self._minute) / len(self._minute), []
        usual = median(self._minutes) if len(self._minutes) >= FEWEST_MINUTES else None
        is_high = usual is not None and rate > LOAD_RATIO * max(usual, LEAST_RATE)
        if is_high and not self._was_high:
            self._add(frame, "load", f"{rate:.0f} requests per second after {usual:.0f}")
        self._was_high = is_high
        self._minutes.append(rate)

    def _add(self, frame: Frame, kind: Kind, text: str) -> None:
        self._changes.add(Change(time_s=frame.time_s, service=self._service, kind=kind, text=text))
