"""Keeps the latest totals of all series in bounded memory and tells what each request adds.

    request -> Template (where its values stand) -> Report (whose they are) -> Table (what they add) -> Service

Requests are read one by one, as their senders are told at once what is refused; what they add is found for many
together, when they are settled.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from telemetry.receivers.origin import NOBODY, Peer
from telemetry.receivers.points import Point, RefusedError, points
from telemetry.series import targets
from telemetry.series.binding import Binding
from telemetry.series.prices import Prices
from telemetry.series.process import Process
from telemetry.series.processes import Processes, Source
from telemetry.series.recording import Plotted
from telemetry.series.report import Report, read
from telemetry.series.service import Service
from telemetry.series.settling import Recorder, settle
from telemetry.series.state import dump, load
from telemetry.series.stream import Key, Stream
from telemetry.series.table import UNKNOWN
from telemetry.series.template import Name, Template
from telemetry.series.templates import Templates, resources
from telemetry.storage.catalogue import Kind

logger = logging.getLogger(__name__)

MAX_PENDING = 16_384
"""Points that wait to be settled."""
MAX_UNITS = 20_000
"""Metrics whose unit is remembered."""
MOST_BACK_S = 0.5
"""A clock that goes back further was set; by less, it was adjusted."""


@dataclass(kw_only=True)
class Outcome:
    """What became of one request's points."""

    num_points: int = 0
    """With those that were refused."""
    num_refused: int = 0
    reason: str = ""
    """Why the first refused point was refused."""

    def refuse(self, reason: str, num: int = 1) -> None:
        """Count refusals."""
        self.num_refused += num
        self.reason = self.reason or reason


class SeriesStore:
    """All series within their limits, and the services that they belong to."""

    def __init__(
        self,
        *,
        started_s: float,
        retention_s: float,
        max_series: int,
        max_sender_series: int = 2000,
        recorder: Recorder | None = None,
        prices: Prices | None = None,
    ) -> None:
        """`recorder`, if given, is told all that is taken; `prices` are what requests' costs are made of."""
        self.num_points = 0
        """Received, with those refused."""
        self.num_refused = 0
        self.binding = Binding(max_series=max_series, max_sender_series=max_sender_series)
        self.templates = Templates()
        self.units: dict[str, str] = {}
        """What each metric is measured in, where its senders say so."""
        self._started_ns = int(started_s * 1e9)
        self._now_s = started_s
        self._retention_s = retention_s
        self._processes = Processes(retention_s=retention_s, prices=prices)
        self.services = self._processes.services
        self._pending: list[Report] = []
        self._waiting: set[int] = set()
        self._num_pending = self._num_reports = 0
        self._recorder = recorder

    @property
    def num_skewed(self) -> int:
        """Senders whose clock is off, so that the collector's is used for them."""
        return sum(process.clock.offset_ns != 0 for process in self._processes)

    @property
    def num_series(self) -> int:
        """All series that are kept."""
        return self.binding.num_series

    @property
    def num_pending(self) -> int:
        """Points that wait to be settled."""
        return self._num_pending

    def plotted(self, where: Callable[[Key], bool]) -> list[Plotted]:
        """Series over time, those that somebody looks at."""
        if self._recorder is None:
            return []
        plotted = self._recorder.plotted
        return [
            plotted(key, kind, touched_s, touched_s - self._retention_s)
            for key, kind, touched_s in self._kept()
            if where(key)
        ]

    def _kept(self) -> Iterator[tuple[Key, Kind, float]]:
        """Each series with its kind, and when it was reported last."""
        for table in (self.binding.numbers, *self.binding.histograms.values()):
            for row, key in table.keys.items():
                kind: Kind = "histogram" if table.bounds is not None else "gauge" if table.is_gauge(row) else "counter"
                yield key, kind, float(table.touched_s[row])
        for process in self._processes:
            for stream in process.streams.values():
                yield stream.key, "histogram", stream.touched_s

    def ingest(
        self, body: bytes, now_s: float, peer: Peer = NOBODY, keep: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Read a request; a bad point is refused, the others wait until `settle`.

        `keep` is called when the body is known to be sound, and before anything of it is taken.

        Raises:
            DecodeError: the body is no ExportMetricsServiceRequest; nothing of it was taken.
        """
        outcome = Outcome()
        found = []
        self._follow(now_s)
        for resource, metrics in resources(body):
            source = self._processes.source(resource, peer)
            found.append((source, *self.templates.find(metrics, source.known)))
        keep()
        for source, template, metrics in found:
            source.seen_s = now_s
            self._take(source, template, metrics, now_s, peer, outcome)
        self.num_points += outcome.num_points
        self.num_refused += outcome.num_refused
        return outcome

    def state(self) -> bytes:
        """What it takes to go on from here."""
        self.settle()
        return dump(list(self._processes), self.binding, self.units)

    def restore(self, state: bytes) -> None:
        """Go on from a state; nothing was taken yet."""
        self.units |= load(state, self._processes.meet, self.binding)

    def repeat(self, since_s: float, now_s: float) -> None:
        """Have the values of gauges kept again that their processes leave out, though they report, since a time."""
        if self._recorder is None:
            return
        rows = [
            row
            for process in self._processes
            if process.seen_s >= since_s
            for table, row in process.places.values()
            if table is self.binding.numbers and table.is_gauge(row) and table.touched_s[row] < since_s
        ]
        if rows:
            self._recorder.repeat(self.binding.numbers, np.array(rows), now_s)

    def describe(self, now_s: float) -> None:
        """Have recorded who reports, as soon as that is known, and again as long as they do."""
        if self._recorder is not None and (keys := targets.due(self._processes)):
            self._recorder.describe(keys, now_s)

    def watch_since(self, time_s: float) -> None:
        """Take a process that is unknown, and began after this time, to have counted nothing before."""
        self._started_ns = int(time_s * 1e9)

    def settle(self) -> list[Service]:
        """Find what the requests that wait have added; returns the services whose instances reported."""
        reports, self._pending = self._pending, []
        self._waiting.clear()
        self._num_pending = 0
        services = settle(reports, self._started_ns, self._recorder) if reports else []
        self.binding.release()
        return services

    def expire(self, now_s: float) -> None:
        """Forget processes from which nothing came for the retention, and what others count no more."""
        self.settle()
        since_s = now_s - self._retention_s
        for process in self._processes:
            if process.seen_s < since_s:
                self._forget(process, list(process.places), list(process.streams))
                self._processes.forget(process)
            else:
                old = [name for name, (table, row) in process.places.items() if table.is_over(row, since_s)]
                self._forget(process, old, [n for n, each in process.streams.items() if each.touched_s < since_s])
        self._processes.expire(since_s)
        self.templates.forget()

    def _follow(self, now_s: float) -> None:
        """Move all that was received to before `now_s` where the collector's clock was set back: what comes next is not
        older than it.
        """
        step_s, self._now_s = now_s - self._now_s, now_s
        if step_s > -MOST_BACK_S:
            return
        self.settle()
        step_ns = int(step_s * 1e9)
        for table in (self.binding.numbers, *self.binding.histograms.values()):
            table.last_ns[table.last_ns != UNKNOWN] += step_ns
        for process in self._processes:
            if process.last_ns is not None:
                process.last_ns += step_ns
            for stream in process.streams.values():
                if stream.last is not None:
                    stream.last = replace(stream.last, time_ns=stream.last.time_ns + step_ns)

    def _take(
        self, source: Source, template: Template, metrics: bytes, now_s: float, peer: Peer, outcome: Outcome
    ) -> None:
        process = self._processes.find(source, template, metrics, now_s, peer)
        if id(process) in self._waiting or self._num_pending > MAX_PENDING:
            self.settle()
        if template not in process.bound and len(self.units) < MAX_UNITS:
            self.units |= template.units
        bound = self.binding.bind(process, template)
        rounds, unfit = read(template, bound, metrics)
        self._num_reports += 1
        origin = source.origin._replace(instance=process.origin.instance)
        if template.exemplars is not None and self._recorder is not None:
            self._recorder.link(
                process.linking.new(template.exemplars, metrics, origin, process.clock.offset_ns), now_s
            )
        report = Report(
            process=process,
            origin=origin,
            now_s=now_s,
            number=self._num_reports,
            rounds=rounds,
            streams=self._streams(process, template, outcome),
        )
        process.seen_s = now_s
        outcome.num_points += template.num_points + len(template.refused)
        for reason in (*template.refused, *unfit):
            outcome.refuse(reason)
        if bound.num_refused:
            outcome.refuse(bound.reason, bound.num_refused)
        self._pending.append(report)
        self._waiting.add(id(process))
        self._num_pending += template.num_points + len(report.streams)

    def _streams(self, process: Process, template: Template, outcome: Outcome) -> list[tuple[Stream, Point]]:
        """The points of exponential histograms."""
        found = []
        for within, metric in template.parsed:
            for point in points(metric):
                outcome.num_points += 1
                if isinstance(point, RefusedError):
                    outcome.refuse(str(point))
                    continue
                stream = self.binding.stream(process, Name(within, point.metric, point.attributes))
                if stream is None:
                    outcome.refuse(self.binding.refusal(point.metric))
                else:
                    found.append((stream, point))
        return found

    def _forget(self, process: Process, names: list[Name], streams: list[Name]) -> None:
        if names:
            process.service.drop_rows(self.binding.free(process, names))
        for name in streams:
            stream = process.streams.pop(name)
            self.binding.num_series -= 1
            if self._recorder is not None:
                self._recorder.forget(stream.key)
