"""A sum that only grows."""

import threading

from opentelemetry.sdk.metrics import export as otel

from telemetry.conventions import Instrument
from telemetry.emitting.data_points import CUMULATIVE, Attributes, numbers


class Counter:
    """A sum that only grows."""

    kinds = ("counter",)

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._lock = threading.Lock()
        self._totals: dict[Attributes, float] = {}

    def add(self, amount: float, attributes: Attributes = ()) -> None:
        """Add `amount`, which must not be negative."""
        with self._lock:
            self._totals[attributes] = self._totals.get(attributes, 0) + amount

    def data(self, start_ns: int, now_ns: int) -> otel.DataT:
        """The totals so far."""
        with self._lock:
            totals = dict(self._totals)
        return otel.Sum(numbers(totals, start_ns, now_ns), CUMULATIVE, is_monotonic=True)

    def restart(self, start_ns: int, now_ns: int) -> otel.DataT:
        """The totals so far, a last time: they begin anew at zero."""
        with self._lock:
            totals, self._totals = self._totals, {}
        return otel.Sum(numbers(totals, start_ns, now_ns), CUMULATIVE, is_monotonic=True)
