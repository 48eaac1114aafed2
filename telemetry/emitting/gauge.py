"""A number that is what it is now."""

from collections.abc import Callable, Mapping

from opentelemetry.sdk.metrics import export as otel

from telemetry.conventions import Instrument
from telemetry.emitting.data_points import CUMULATIVE, Attributes, numbers

Observe = Callable[[], Mapping[Attributes, float]]


class Gauge:
    """A number that is what it is now: the last one set, or what observers give at export.

    What was set is exported when it has changed, and now and then. An amount that can be summed over processes, such as
    memory, goes out as OpenTelemetry's UpDownCounter; a total that somebody else counts, as a counter.
    """

    kinds = ("gauge", "updowncounter", "counter")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.has_changed = False
        """Whether another value was set since the last export."""
        self._observers: list[Observe] = []
        self._values: dict[Attributes, float] = {}

    @property
    def is_observed(self) -> bool:
        """Whether somebody gives its values at each export."""
        return bool(self._observers)

    def observe(self, observe: Observe) -> None:
        """Let `observe` give values as well, from now on."""
        self._observers.append(observe)

    def forget(self, observe: Observe) -> None:
        """Ask `observe` no more."""
        self._observers = [each for each in self._observers if each != observe]

    def set(self, value: float, attributes: Attributes = ()) -> None:
        """Replace the value."""
        if self._values.get(attributes) != value:
            self._values[attributes] = value
            self.has_changed = True

    def clear(self) -> None:
        """Forget every value."""
        self._values = {}

    def data(self, start_ns: int, now_ns: int) -> otel.DataT:
        """The values now."""
        self.has_changed = False
        values = dict(self._values)
        for observe in list(self._observers):
            values |= observe()
        points = numbers(values, start_ns, now_ns)
        if self.instrument.kind == "gauge":
            return otel.Gauge(points)
        return otel.Sum(points, CUMULATIVE, is_monotonic=self.instrument.kind == "counter")
