"""A number that is what it is now."""

from collections.abc import Callable, Mapping

from opentelemetry.sdk.metrics import export as otel

from telemetry.conventions import Instrument
from telemetry.emitting.data_points import CUMULATIVE, Attributes, numbers


class Gauge:
    """A number that is what it is now: the last one set, or what `observe` gives at export.

    An amount that can be summed over processes, such as memory, goes out as OpenTelemetry's UpDownCounter.
    """

    kinds = ("gauge", "updowncounter")

    def __init__(self, instrument: Instrument, observe: Callable[[], Mapping[Attributes, float]] | None = None) -> None:
        self.instrument = instrument
        self._observe = observe
        self._values: dict[Attributes, float] = {}

    def set(self, value: float, attributes: Attributes = ()) -> None:
        """Replace the value."""
        self._values[attributes] = value

    def clear(self) -> None:
        """Forget every value."""
        self._values = {}

    def data(self, start_ns: int, now_ns: int) -> otel.DataT:
        """The values now."""
        values = self._observe() if self._observe else dict(self._values)
        points = numbers(values, start_ns, now_ns)
        if self.instrument.kind == "updowncounter":
            return otel.Sum(points, CUMULATIVE, is_monotonic=False)
        return otel.Gauge(points)
