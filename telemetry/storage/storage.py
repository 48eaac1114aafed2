"""What the collector keeps: series, spans, logs; in one SQLite file, or in memory where there is no folder.

    append -> Head (since the last checkpoint) -> Writer (a thread) -> points, requests -> hours and minutes
                 '------------------ read, select, trace, search ------------'

A checkpoint writes the head, a place in the journal and the states that belong to it in one transaction: after a kill,
what the journal holds from that place on is taken again, and nothing twice.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from telemetry.journal.record import Place
from telemetry.receivers.origin import origin
from telemetry.series.stream import Key
from telemetry.storage import exemplars, logs, points, requests, spans
from telemetry.storage.block import Block, Floats, Ids, Ints
from telemetry.storage.catalogue import Catalogue, Kind, Series
from telemetry.storage.config import StorageConfig
from telemetry.storage.database import Database
from telemetry.storage.exemplars import Exemplar
from telemetry.storage.head import Head
from telemetry.storage.layout import Layout
from telemetry.storage.logs import LogRecord
from telemetry.storage.points import Histograms, Points
from telemetry.storage.requests import Kept
from telemetry.storage.schema import SCHEMA, TABLES
from telemetry.storage.spans import StoredSpan
from telemetry.storage.writer import Checkpoint, Writer

logger = logging.getLogger(__name__)

FILE = "telemetry.sqlite"
MAX_WAITING = 4
"""Checkpoints that may wait for room on the disk before further requests are refused."""
MAX_WAITING_BYTES = 128 * 2**20
"""Of memory that checkpoints may hold while the disk is slow."""
MINUTE_S = 60.0
EARLY_S = 3600.0
"""Spans and logs are found that began so long before they were received."""
_NOTHING = np.zeros(0)
NO_POINTS = Points(_NOTHING, _NOTHING, _NOTHING, _NOTHING)


class Storage:
    """Keeps and finds. All may be called from any thread; `append` and `add` cost little, queries read the disk."""

    def __init__(self, folder: Path | None, config: StorageConfig | None = None, *, read_only: bool = False) -> None:
        """Open what `folder` holds; None keeps all in memory, within `memory_bytes`.

        `read_only` is for another process than the collector: it sees all up to the last checkpoint.

        Raises:
            StorageError: the folder cannot be written to, or, read-only, holds nothing.
        """
        self.config = config or StorageConfig()
        self._database = Database(folder and folder / FILE, SCHEMA, TABLES, read_only=read_only)
        self._catalogue = Catalogue(self._database)
        self._head = Head()
        self._swapping = threading.Lock()
        self._writer = Writer(self._database, self._catalogue, self.config)

    @property
    def num_put_aside(self) -> int:
        """Damaged files that were put aside since the start."""
        return self._database.num_put_aside

    @property
    def num_bytes(self) -> int:
        """Bytes on disk, without the journal."""
        return self._database.num_bytes

    @property
    def num_waiting_bytes(self) -> int:
        """Bytes in memory that no checkpoint has taken yet."""
        return self._head.num_bytes

    @property
    def is_behind(self) -> bool:
        """Whether the disk takes so little that requests must be refused, so that memory stays bounded: it is full, or
        too slow for what comes.
        """
        waiting = list(self._writer.waiting)
        is_full = self._writer.num_failed > 0 and len(waiting) >= MAX_WAITING
        return is_full or sum(checkpoint.head.num_bytes for checkpoint in waiting) > MAX_WAITING_BYTES

    def series_id(self, key: Key, kind: Kind) -> int:
        """The number of a series, for `append`; the same over restarts. Ask once and keep it."""
        return self._catalogue.series_ids((key,), kind)[0]

    def series_ids(self, keys: Sequence[Key], kind: Kind) -> list[int]:
        """The numbers of many series at once, which costs little more than one."""
        return self._catalogue.series_ids(keys, kind)

    def append(self, ids: Ids, time_s: float | Floats, values: Floats) -> None:
        """Add one point to each of some series, at one time or at one each.

        A gauge's value, or a counter's total, which never falls: resets are taken out before. The arrays belong to
        storage from now on: what is changed in them afterwards is changed here.
        """
        with self._swapping:
            self._head.append(ids, _ms(time_s, len(ids)), values)

    def append_buckets(self, ids: Ids, time_s: float | Floats, layout: Layout, counts: Ints, totals: Floats) -> None:
        """Add one point to each of some histograms of one layout.

        `counts` (series, buckets) are totals that never fall, `totals` the sum of all values. The arrays belong to
        storage from now on.
        """
        with self._swapping:
            self._head.append_buckets(ids, _ms(time_s, len(ids)), layout, counts, totals)

    def add_spans(self, request: ExportTraceServiceRequest, body: bytes, time_s: float) -> None:
        """Keep a request's spans; `body` is the request as protobuf, `time_s` when it was received."""
        traces = [
            span.trace_id for each in request.resource_spans for scope in each.scope_spans for span in scope.spans
        ]
        services = frozenset(origin(each.resource).service for each in request.resource_spans)
        self._add("traces", body, time_s, services, [trace for trace in traces if len(trace) == 16], len(traces))

    def add_logs(self, request: ExportLogsServiceRequest, body: bytes, time_s: float) -> None:
        """Keep a request's log records."""
        traces = [
            record.trace_id
            for each in request.resource_logs
            for scope in each.scope_logs
            for record in scope.log_records
        ]
        services = frozenset(origin(each.resource).service for each in request.resource_logs)
        self._add("logs", body, time_s, services, [trace for trace in traces if len(trace) == 16], len(traces))

    def add_exemplars(self, found: Sequence[Exemplar], time_s: float) -> None:
        """Keep exemplars, as long as spans are kept."""
        traces = [bytes.fromhex(each.trace_id) for each in found]
        services = frozenset(each.key.service for each in found)
        self._add("exemplars", exemplars.encoded(found), time_s, services, traces, len(found))

    def exemplars(self, start_s: float, end_s: float, service: str | None = None) -> Iterator[Exemplar]:
        """Those of a range, each once, the latest to come first."""
        seen = set()
        for body in self.requests("exemplars", start_s, end_s, service):
            for each in exemplars.decoded(body):
                if start_s <= each.time_s <= end_s and each not in seen:
                    seen.add(each)
                    yield each

    def select(
        self,
        metric: str | None = None,
        *,
        service: str | None = None,
        where: Callable[[Key], bool] | None = None,
        start_s: float = 0.0,
        end_s: float = 2e10,
    ) -> list[Series]:
        """Series of a metric and service, all where they are None, that may have points in a range."""
        return self._catalogue.select(metric, service, where, start_s, end_s)

    def read(self, number: int, start_s: float, end_s: float, *, step_s: float = 0.0) -> Points:
        """One series' numbers in [start_s, end_s]; by the minute where `step_s` is a minute and more, or they are old.

        Totals of a counter never fall, over restarts either.
        """
        return self.read_many([number], start_s, end_s, step_s=step_s).get(number, NO_POINTS)

    def read_many(
        self, numbers: Iterable[int], start_s: float, end_s: float, *, step_s: float = 0.0
    ) -> dict[int, Points]:
        """The numbers of many series at once, which costs little more than one; without those that have none."""
        return points.points_of(self._blocks(np.fromiter(numbers, np.int64), start_s, end_s, step_s))

    def read_buckets(
        self, number: int, start_s: float, end_s: float, *, step_s: float = 0.0
    ) -> list[tuple[Layout, Histograms]]:
        """One histogram's totals by bucket, those of each layout together."""
        return self.read_many_buckets([number], start_s, end_s, step_s=step_s).get(number, [])

    def read_many_buckets(
        self, numbers: Iterable[int], start_s: float, end_s: float, *, step_s: float = 0.0
    ) -> dict[int, list[tuple[Layout, Histograms]]]:
        """The totals of many histograms at once; without those that have none."""
        alike: dict[Layout, list[Block]] = {}
        for block in self._blocks(np.fromiter(numbers, np.int64), start_s, end_s, step_s):
            if block.layout is not None:
                alike.setdefault(block.layout, []).append(block)
        found: dict[int, list[tuple[Layout, Histograms]]] = {}
        for layout, blocks in alike.items():
            for number, histograms in points.histograms_of(blocks).items():
                found.setdefault(number, []).append((layout, histograms))
        return found

    def trace(self, trace_id: str) -> list[StoredSpan]:
        """All spans of a trace (hex), by their start."""
        return spans.of_trace(self.requests("traces", 0.0, 2e10, None, trace_id), trace_id)

    def search_spans(self, query: spans.SpanQuery) -> list[StoredSpan]:
        """The latest spans that a query asks for."""
        return spans.search(self.requests("traces", query.start_s, query.end_s, query.service, None), query)

    def search_logs(self, query: logs.LogQuery) -> list[LogRecord]:
        """The latest log records that a query asks for."""
        return logs.search(self.requests("logs", query.start_s, query.end_s, query.service, query.trace_id), query)

    def requests(
        self,
        signal: Kept,
        start_s: float = 0.0,
        end_s: float = 2e10,
        service: str | None = None,
        trace_id: str | None = None,
    ) -> Iterator[bytes]:
        """The bodies of requests that may hold what is asked for, the latest first."""
        start_ms, end_ms = round((start_s - EARLY_S) * 1e3), round((end_s + EARLY_S) * 1e3)
        half = int(requests.halves([bytes.fromhex(trace_id)])[0]) if trace_id else None
        wanted = requests.Wanted(signal=signal, start_ms=start_ms, end_ms=end_ms, service=service, half=half)
        for head in reversed(self._heads()):
            yield from (request.body for request in reversed(list(head.requests)) if wanted.may_be_in(request))
        yield from requests.read(self._database, wanted)

    def checkpoint(
        self,
        now_s: float,
        place: Place = 0,
        states: Mapping[str, bytes] | None = None,
        done: Callable[[], None] | None = None,
    ) -> None:
        """Have all that was appended written in one go, with a place in the journal and the states that belong to it.

        Returns at once; `done` is called, in the writer's thread, when it is on disk. Without room it is tried again.
        """
        with self._swapping:
            head, self._head = self._head, Head()
            self._writer.put(Checkpoint(head=head, now_s=now_s, place=place, states=dict(states or {}), done=done))

    def checkpointed(self) -> tuple[Place, dict[str, bytes]]:
        """The place and states of the last checkpoint; 0 and none where there was none."""
        kept = self._database.read(
            lambda connection: connection.execute("SELECT name, value FROM checkpoint").fetchall()
        )
        rows: dict[str, bytes] = dict(kept or ())
        return int(rows.pop("place", b"0")), rows

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until all checkpoints are written; False where they are not in time."""
        return self._writer.wait(timeout_s)

    def close(self) -> None:
        """Write what waits, as far as there is room, and close the file."""
        self._writer.stop()
        self._database.close()

    def _add(
        self,
        signal: Kept,
        body: bytes,
        time_s: float,
        services: frozenset[str],
        traces: list[bytes],
        num: int,
    ) -> None:
        request = requests.Request(
            signal=signal,
            body=body,
            time_ms=round(time_s * 1e3),
            services=services,
            traces=requests.halves(traces),
            num=num,
        )
        with self._swapping:
            self._head.add(request)

    def _blocks(self, ids: Ids, start_s: float, end_s: float, step_s: float) -> list[Block]:
        """The points of some series. What is in memory is looked at first: what is written meanwhile is found twice
        rather than not at all.
        """
        start_ms, end_ms = round(start_s * 1e3), round(end_s * 1e3)
        found = []
        for head in self._heads():
            for block in head.blocks():
                inside = np.isin(block.ids, ids) & (block.times_ms >= start_ms) & (block.times_ms <= end_ms)
                found.append(block.taken(inside))
        kept = self._database.read(
            lambda connection: points.read(connection, ids, start_ms, end_ms, by_minute=step_s >= MINUTE_S)
        )
        return [block for block in [*(kept or ()), *found] if len(block)]

    def _heads(self) -> list[Head]:
        with self._swapping:
            return [*(checkpoint.head for checkpoint in list(self._writer.waiting)), self._head]


def _ms(time_s: float | Floats, num: int) -> Ints:
    """Whole milliseconds, one for each point."""
    if isinstance(time_s, np.ndarray):
        return np.rint(time_s * 1e3).astype(np.int64)
    return np.full(num, round(time_s * 1e3), np.int64)
