"""Where the values stand in what a sender sends, so that its next request is read without being parsed.

OTLP's numbers and explicit histograms have a fixed width on the wire: as long as a process reports the same series, its
requests have one length and differ in times and values alone. A `Template` is such a request: its constant bytes, and
the places of the others. One request is walked through field by field; those like it are compared with numpy and the
values picked out.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.receivers.attributes import Attributes
from telemetry.receivers.points import Scope
from telemetry.series.stream import Key

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_PADDING = bytes(8)
"""Behind the request: a value that is left out of it, being zero, has its place here."""


class Name(NamedTuple):
    """What a series is told apart by from others of its process."""

    scope: Scope
    metric: str
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The n gauges and sums of a template."""

    names: tuple[Name, ...]
    places: Ints
    """(3, n): of the time, the start time, the value."""
    is_int: Bools
    scale: Floats
    is_scaled: bool
    monotonic: Bools
    delta: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Histograms:
    """The n explicit histograms of a template that share their bounds."""

    names: tuple[Name, ...]
    bounds: tuple[float, ...]
    places: Ints
    """(3 + buckets, n): of the time, the start time, the sum, the counts."""
    scale: float
    monotonic: Bools
    """All of them."""
    delta: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplars:
    """The n exemplars of a template: values that stand for others of their series, and the traces they are of."""

    names: tuple[Name, ...]
    """Whose values they are."""
    bounds: tuple[tuple[float, ...], ...]
    """Of the buckets of each one's histogram; none of a number."""
    places: Ints
    """(5, n): of the time, the value, the span's id, both halves of the trace's."""
    is_int: Bools
    scale: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Template:
    """One process's metrics as they stand in a request, behind its resource."""

    length: int
    kept: NDArray[np.uint8]
    """255 where the bytes are constant, 0 where they are values."""
    constants: bytes
    """The request with zeros where values are."""
    parts: tuple[Numbers | Histograms, ...]
    parsed: tuple[tuple[Scope, otlp.Metric], ...]
    """Metrics whose width is not fixed, exponential histograms: this template serves for one request alone."""
    refused: tuple[str, ...]
    """Why each point that breaks a rule does."""
    exemplars: Exemplars | None
    units: dict[str, str]
    """What its metrics are measured in, of those that say so."""

    @property
    def num_points(self) -> int:
        """Numbers and explicit histograms."""
        return sum(len(part.names) for part in self.parts)

    def totals(self, metrics: bytes, service: str) -> list[tuple[Key, int]]:
        """Each cumulative total of a request as the key of a nameless process's series, and when it began to count."""
        found = words(metrics)
        return [
            (Key(service, "", *name), start_ns)
            for part in self.parts
            for name, start_ns, monotonic, delta in zip(
                part.names, found[part.places[1]].tolist(), part.monotonic.tolist(), part.delta.tolist(), strict=True
            )
            if monotonic and not delta and start_ns > 0
        ]

    def fits(self, metrics: bytes) -> bool:
        """Whether `metrics` is another request like this one."""
        if len(metrics) != self.length:
            return False
        return (np.frombuffer(metrics, np.uint8) & self.kept).tobytes() == self.constants


def words(metrics: bytes) -> NDArray[np.int64]:
    """The eight bytes from each place on, as a number."""
    padded = metrics + _PADDING
    return np.ndarray((len(padded) - 7,), "<i8", padded, 0, (1,))
