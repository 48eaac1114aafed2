"""Counts of values between boundaries, and examples of what made them."""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics import export as otel

from telemetry.conventions import Instrument
from telemetry.emitting.data_points import CUMULATIVE, Attributes
from telemetry.emitting.environment import ExemplarFilter
from telemetry.emitting.trace import Link


class Histogram:
    """Counts of values between the instrument's boundaries; a value on a boundary falls below it.

    Of each bucket the last value that came with a trace is kept until the next export, with where that is found.
    """

    kinds = ("histogram",)

    def __init__(self, instrument: Instrument, exemplars: ExemplarFilter = "trace_based") -> None:
        self.instrument = instrument
        self._bounds = instrument.boundaries
        self._exemplars = exemplars
        self._lock = threading.Lock()
        self._cells: dict[Attributes, _Cell] = {}
        self._before_restart: dict[Attributes, _Cell] = {}

    def record(self, value: float, attributes: Attributes = (), times: int = 1, trace: Link | None = None) -> None:
        """Count one value, in the instrument's unit, or the same one several times; `trace` is where it was seen."""
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            cell = self._cells.get(attributes)
            if cell is None:
                cell = self._cells[attributes] = _Cell(len(self._bounds) + 1)
            cell.counts[bucket] += times
            cell.total += times * value
            if value < cell.low:
                cell.low = value
            if value > cell.high:
                cell.high = value
            if trace is not None or self._exemplars == "always_on":
                cell.examples[bucket] = _Example(value, time.time_ns(), trace)

    def data(self, start_ns: int, now_ns: int) -> otel.DataT:
        """The buckets so far, with the examples since the last time."""
        with self._lock:
            cells = _copied(self._cells)
            for attributes, cell in self._cells.items():
                if cell.examples:
                    cells[attributes].examples, cell.examples = cell.examples, {}
        return otel.Histogram(self._points(cells, start_ns, now_ns), CUMULATIVE)

    def restart(self, start_ns: int, now_ns: int) -> otel.DataT:
        """The buckets so far, a last time: they begin anew, empty."""
        with self._lock:
            cells, self._cells = self._cells, {}
            _add(cells.items(), self._before_restart)
        return otel.Histogram(self._points(cells, start_ns, now_ns), CUMULATIVE)

    def lifetime(self) -> list[otel.HistogramDataPoint]:
        """All that was ever counted, whatever was restarted: for readers in this process; the points bear no times."""
        with self._lock:
            cells = _copied(self._before_restart)
            _add(self._cells.items(), cells)
        return self._points(cells, 0, 0)

    def _points(self, cells: "dict[Attributes, _Cell]", start_ns: int, now_ns: int) -> list[otel.HistogramDataPoint]:
        return [
            otel.HistogramDataPoint(
                attributes=dict(attributes),
                start_time_unix_nano=start_ns,
                time_unix_nano=now_ns,
                count=sum(cell.counts),
                sum=cell.total,
                bucket_counts=cell.counts,
                explicit_bounds=self._bounds,
                min=cell.low,
                max=cell.high,
                exemplars=self._shown(cell),
            )
            for attributes, cell in cells.items()
        ]

    def _shown(self, cell: "_Cell") -> list[Exemplar]:
        if self._exemplars == "always_off":
            return []
        return [
            Exemplar(
                filtered_attributes={},
                value=each.value,
                time_unix_nano=each.time_ns,
                span_id=each.trace.span_id if each.trace else None,
                trace_id=each.trace.trace_id if each.trace else None,
            )
            for _, each in sorted(cell.examples.items())
        ]


class _Example(NamedTuple):
    value: float
    time_ns: int
    trace: Link | None


class _Cell:
    __slots__ = ("counts", "examples", "high", "low", "total")

    def __init__(self, num_buckets: int) -> None:
        self.counts = [0] * num_buckets
        self.total = 0.0
        self.low = math.inf
        self.high = -math.inf
        self.examples: dict[int, _Example] = {}

    def add(self, other: "_Cell") -> None:
        """Add what `other` has counted."""
        self.counts = [mine + others for mine, others in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)


def _copied(cells: dict[Attributes, _Cell]) -> dict[Attributes, _Cell]:
    copies: dict[Attributes, _Cell] = {}
    _add(cells.items(), copies)
    return copies


def _add(cells: Iterable[tuple[Attributes, _Cell]], to: dict[Attributes, _Cell]) -> None:
    for attributes, cell in cells:
        if attributes not in to:
            to[attributes] = _Cell(len(cell.counts))
        to[attributes].add(cell)
