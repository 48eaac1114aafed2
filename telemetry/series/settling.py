"""What many reports together have added to their series."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from telemetry.series.clock import MAX_AHEAD_S, MAX_BEHIND_S
from telemetry.series.recording import Plotted
from telemetry.series.report import Part, Report
from telemetry.series.service import Service
from telemetry.series.stream import Increment, Key
from telemetry.series.table import UNKNOWN, Arrived, Ints, Table, Taken
from telemetry.storage.catalogue import Kind
from telemetry.storage.exemplars import Exemplar

_AHEAD_NS, _BEHIND_NS = int(MAX_AHEAD_S * 1e9), int(MAX_BEHIND_S * 1e9)
_LATEST_NS = 2**63 - 1
_NONE = np.empty(0, np.int64)


class Recorder(Protocol):
    """Keeps what is taken."""

    def record(self, table: Table, taken: Taken) -> None:
        """Keep what rows of a table added; their totals are in the table."""
        ...

    def record_histogram(self, increment: Increment) -> None:
        """Keep what an exponential histogram added."""
        ...

    def link(self, exemplars: Sequence[Exemplar], now_s: float) -> None:
        """Keep values with the traces that they are of."""
        ...

    def describe(self, keys: Sequence[Key], now_s: float) -> None:
        """Keep who reports: a gauge that is 1, whose attributes are a process's own."""
        ...

    def plotted(self, key: Key, kind: Kind, touched_s: float, since_s: float) -> Plotted:
        """One series over time."""
        ...

    def repeat(self, table: Table, rows: Ints, now_s: float) -> None:
        """Keep the values of gauges that have not changed."""
        ...

    def forget(self, key: Key) -> None:
        """An exponential histogram has ended."""
        ...


def settle(reports: Sequence[Report], watched_ns: int, recorder: Recorder | None) -> list[Service]:
    """Take the reports, each of another process, into their tables; returns the services they belong to.

    `watched_ns` is since when anyone watches.
    """
    _set_clocks(reports)
    services = {}
    for report in reports:
        service = services[report.process.service.name] = report.process.service
        latest_s = (report.process.last_ns or 0) / 1e9
        service.meet(report.origin, report.now_s).hear(report.origin, latest_s, report.number, report.now_s)
    for turn in range(max(len(report.rounds) for report in reports)):
        parts: dict[Table, list[tuple[Report, Part]]] = defaultdict(list)
        for report in reports:
            for part in report.rounds[turn] if turn < len(report.rounds) else ():
                parts[part.table].append((report, part))
        for table, found in parts.items():
            taken = table.take(_arrived(found), watched_ns)
            if recorder and len(taken.rows):
                recorder.record(table, taken)
    for report in reports:
        service = report.process.service
        for stream, point in report.streams:
            increment = stream.take(
                point,
                report.origin,
                offset_ns=report.offset_ns,
                previous_ns=None if report.previous_ns == UNKNOWN else report.previous_ns,
                watched_ns=watched_ns,
            )
            stream.touched_s = report.now_s
            if increment:
                if recorder:
                    recorder.record_histogram(increment)
                service.add(service.instances[report.origin.instance], increment, report.now_s)
    return list(services.values())


def _arrived(found: Sequence[tuple[Report, Part]]) -> Arrived:
    """The points of one table, by the collector's clock; what is still too far from it counts as from now."""
    nums = [len(part.rows) for _, part in found]
    parts = [part for _, part in found]
    now_s = np.repeat([report.now_s for report, _ in found], nums)
    sent_ns = np.concatenate([part.time_ns for part in parts])
    offset_ns = np.repeat([report.offset_ns for report, _ in found], nums)
    ahead_ns = sent_ns + offset_ns - (now_s * 1e9).astype(np.int64)
    odd = (ahead_ns > _AHEAD_NS) | (ahead_ns < -_BEHIND_NS)
    if odd.any():
        offset_ns = np.where(odd, offset_ns - ahead_ns, offset_ns)
    return Arrived(
        rows=np.concatenate([part.rows for part in parts]),
        time_ns=sent_ns + offset_ns,
        sent_ns=sent_ns,
        start_ns=np.concatenate([part.start_ns for part in parts]),
        offset_ns=offset_ns,
        previous_ns=np.repeat([report.previous_ns for report, _ in found], nums),
        values=np.concatenate([part.values for part in parts]),
        monotonic=np.concatenate([part.monotonic for part in parts]),
        delta=np.concatenate([part.delta for part in parts]),
        request=np.repeat([report.number for report, _ in found], nums),
        now_s=now_s,
    )


def _set_clocks(reports: Sequence[Report]) -> None:
    """For each process its clock's offset, when it reported before and when it does now."""
    times = [_times(report) for report in reports]
    known = [index for index, each in enumerate(times) if len(each)]
    if not known:
        return
    firsts = np.cumsum([0, *(len(times[index]) for index in known[:-1])])
    together = np.concatenate([times[index] for index in known])
    lowest, highest = np.minimum.reduceat(together, firsts).tolist(), np.maximum.reduceat(together, firsts).tolist()
    for index, low_ns, high_ns in zip(known, lowest, highest, strict=True):
        report = reports[index]
        process, now_ns = report.process, int(report.now_s * 1e9)
        offset_ns = process.clock.offset_ns
        latest_ns = high_ns + offset_ns
        if latest_ns > now_ns + _AHEAD_NS or low_ns + offset_ns < now_ns - _BEHIND_NS:
            offset_ns = process.see_clock(times[index], now_ns)
            moved_ns = times[index] + offset_ns
            odd = (moved_ns > now_ns + _AHEAD_NS) | (moved_ns < now_ns - _BEHIND_NS)
            latest_ns = int(np.where(odd, now_ns, moved_ns).max())
        if process.last_ns is not None and latest_ns < process.last_ns - _AHEAD_NS:
            offset_ns = process.clock.see_behind(high_ns, process.last_ns, now_ns)
            latest_ns = high_ns + offset_ns
        else:
            process.clock.see_in_order()
        report.offset_ns = offset_ns
        report.previous_ns = UNKNOWN if process.last_ns is None else process.last_ns
        process.last_ns = max(process.last_ns or 0, latest_ns)


def _times(report: Report) -> Ints:
    times = [part.time_ns for parts in report.rounds for part in parts]
    if report.streams:
        times.append(np.array([min(point.time_ns, _LATEST_NS) for _, point in report.streams], np.int64))
    if len(times) == 1:
        return times[0]
    return np.concatenate(times) if times else _NONE
