"""Counts by bin of series that each have bounds of their own."""

import threading
from collections.abc import Sequence

from opentelemetry.sdk.metrics import export as otel

from telemetry.conventions import Instrument
from telemetry.emitting.data_points import CUMULATIVE, Attributes


class BinCounts:
    """A histogram whose series have their own boundaries; a value on a boundary falls below it."""

    kinds = ("histogram",)

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._lock = threading.Lock()
        self._cells: dict[Attributes, tuple[tuple[float, ...], list[int]]] = {}

    def add(self, bounds: tuple[float, ...], counts: Sequence[int], attributes: Attributes) -> None:
        """Count values between `bounds`, one count more than there are of these."""
        assert len(counts) == len(bounds) + 1, f"{len(bounds)} bounds have one count more, got {len(counts)}"
        with self._lock:
            _, held = self._cells.setdefault(attributes, (bounds, [0] * len(counts)))
            held[:] = [before + int(new) for before, new in zip(held, counts, strict=True)]

    def data(self, start_ns: int, now_ns: int) -> otel.DataT:
        """The bins so far."""
        with self._lock:
            cells = {attributes: (bounds, list(counts)) for attributes, (bounds, counts) in self._cells.items()}
        return _data(cells, start_ns, now_ns)

    def restart(self, start_ns: int, now_ns: int) -> otel.DataT:
        """The bins so far, a last time: they begin anew, empty."""
        with self._lock:
            cells, self._cells = self._cells, {}
        return _data(cells, start_ns, now_ns)


def _data(cells: dict[Attributes, tuple[tuple[float, ...], list[int]]], start_ns: int, now_ns: int) -> otel.Histogram:
    return otel.Histogram(
        [
            otel.HistogramDataPoint(
                attributes=dict(attributes),
                start_time_unix_nano=start_ns,
                time_unix_nano=now_ns,
                count=sum(counts),
                sum=0.0,
                bucket_counts=counts,
                explicit_bounds=bounds,
                min=0.0,
                max=0.0,
            )
            for attributes, (bounds, counts) in cells.items()
        ],
        CUMULATIVE,
    )
