"""Where the values stand in what a sender sends, so that its next request is read without being parsed.

OTLP's numbers and explicit histograms have a fixed width on the wire: as long as a process reports the same series, its
requests have one length and differ in times and values alone. A `Template` is such a request: its constant bytes, and
the places of the others. One request is walked through field by field; those like it are compared with numpy and the
values picked out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.receivers.attributes import MAX_TEXT, Attributes, attributes
from telemetry.receivers.points import NO_VALUE, UNIT_SCALES, Scope, scope
from telemetry.series.stream import Key
from telemetry.series.wire import BYTES, FIXED64, VARINT, UnreadableError, fields, varint

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_GAUGE, _SUM, _HISTOGRAM, _EXPONENTIAL, _SUMMARY = 5, 7, 9, 10, 11
_KINDS = {_GAUGE: "gauge", _SUM: "sum", _HISTOGRAM: "histogram", _SUMMARY: "summary"}
_DELTA, _CUMULATIVE = otlp.AGGREGATION_TEMPORALITY_DELTA, otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
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


def learn(metrics: bytes) -> Template:
    """The template of the scopes and their metrics that a ResourceMetrics message holds.

    Raises:
        UnreadableError: they are no protobuf, or not written as its encoders do.
    """
    reading = _Reading(metrics)
    for number, kind, begin, end in fields(metrics, 0, len(metrics)):
        if number == 1:
            raise UnreadableError("the resource does not come first")
        if number == 2 and kind == BYTES:
            reading.read_scope(begin, end)
    return reading.template()


@dataclass(slots=True)
class _Group:
    """Histograms that share their bounds, being read."""

    names: list[Name] = field(default_factory=list)
    places: list[list[int]] = field(default_factory=list)
    delta: list[bool] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Found:
    """One data point's places; zero stands behind the request."""

    attributes: Attributes
    flags: int
    start: int
    time: int
    value: int = 0
    is_int: bool = False
    total: int = 0
    count: int = 0
    counts: tuple[int, int] = (0, 0)
    bounds: bytes = b""


class _Reading:
    """Walks through one request."""

    def __init__(self, metrics: bytes) -> None:
        self._bytes = metrics
        self._zero = len(metrics)
        self._kept = np.full(len(metrics), 255, np.uint8)
        self._names: list[Name] = []
        self._numbers: list[tuple[int, int, int, bool, float, bool, bool]] = []
        self._groups: dict[tuple[tuple[float, ...], float], _Group] = {}
        self._parsed: list[tuple[Scope, otlp.Metric]] = []
        self._refused: list[str] = []

    def template(self) -> Template:
        """What was read."""
        return Template(
            length=len(self._bytes),
            kept=self._kept,
            constants=(np.frombuffer(self._bytes, np.uint8) & self._kept).tobytes(),
            parts=(
                *self._read_numbers(),
                *(
                    Histograms(
                        names=tuple(group.names),
                        bounds=bounds,
                        places=np.array(group.places, np.int64).T,
                        scale=scale,
                        monotonic=np.ones(len(group.names), np.bool_),
                        delta=np.array(group.delta),
                    )
                    for (bounds, scale), group in self._groups.items()
                ),
            ),
            parsed=tuple(self._parsed),
            refused=tuple(self._refused),
        )

    def read_scope(self, begin: int, end: int) -> None:
        """A ScopeMetrics message."""
        within, metrics = Scope(), []
        for number, kind, at, stop in fields(self._bytes, begin, end):
            if number == 1 and kind == BYTES:
                within = _scope(self._bytes[at:stop])
            elif number == 2 and kind == BYTES:
                metrics.append((at, stop))
        for at, stop in metrics:
            self._read_metric(within, at, stop)

    def _read_metric(self, within: Scope, begin: int, end: int) -> None:
        name, unit, data = "", "", (0, 0, 0)
        for number, kind, at, stop in fields(self._bytes, begin, end):
            if kind != BYTES:
                continue
            if number == 1:
                name = _text(self._bytes[at:stop])
            elif number == 3:
                unit = _text(self._bytes[at:stop])
            elif _GAUGE <= number <= _SUMMARY:
                if data[0]:
                    raise UnreadableError("a metric has two kinds of data")
                data = number, at, stop
        if data[0] == _EXPONENTIAL:
            self._parsed.append((within, otlp.Metric.FromString(self._bytes[begin:end])))
        elif data[0]:
            self._read_data(within, name, UNIT_SCALES.get(unit, 1.0), *data)

    def _read_data(self, within: Scope, metric: str, scale: float, data: int, begin: int, end: int) -> None:
        is_histogram = data == _HISTOGRAM
        temporality, monotonic, found = 0, is_histogram, []
        for number, kind, at, stop in fields(self._bytes, begin, end):
            if number == 1 and kind == BYTES:
                found.append(self._histogram(at, stop) if is_histogram else self._number(at, stop))
            elif number == 2 and kind == VARINT:
                temporality = varint(self._bytes, at)[0]
            elif number == 3 and kind == VARINT:
                monotonic = bool(varint(self._bytes, at)[0])
        if data == _GAUGE:
            temporality, monotonic = _CUMULATIVE, False
        for each in found:
            name = Name(within, metric[:MAX_TEXT], each.attributes)
            if each.flags & NO_VALUE:
                continue
            if problem := self._problem(data, temporality, each):
                self._refused.append(f"{metric}: {problem}")
            elif is_histogram:
                self._add_histogram(name, each, scale, temporality == _DELTA)
            else:
                self._names.append(name)
                self._numbers.append(
                    (each.time, each.start, each.value, each.is_int, scale, monotonic, temporality == _DELTA)
                )

    def _problem(self, data: int, temporality: int, found: _Found) -> str:
        if found.time == self._zero or not any(self._bytes[found.time : found.time + 8]):
            return "time_unix_nano must be set, got 0"
        if data == _SUMMARY:
            return f"a {_KINDS[data]} is not understood; send a gauge, sum or histogram"
        if temporality not in (_DELTA, _CUMULATIVE):
            return f"aggregation_temporality must be delta or cumulative, got {temporality}"
        if data != _HISTOGRAM:
            return ""
        bounds = np.frombuffer(found.bounds, "<f8")
        if not np.isfinite(bounds).all() or not (np.diff(bounds) > 0).all():
            return f"explicit_bounds must be finite and increase, got {tuple(bounds.tolist())}"
        num_counts = (found.counts[1] - found.counts[0]) // 8
        if num_counts and num_counts != len(bounds) + 1:
            return f"bucket_counts must be one more than explicit_bounds, got {num_counts} and {len(bounds)}"
        return ""

    def _add_histogram(self, name: Name, found: _Found, scale: float, delta: bool) -> None:
        counts = list(range(*found.counts, 8))
        bounds = _bounds(found.bounds, scale) if counts else ()  # a histogram may come without buckets
        group = self._groups.setdefault((bounds, scale), _Group())
        group.names.append(name)
        group.places.append([found.time, found.start, found.total, *(counts or [found.count])])
        group.delta.append(delta)

    def _number(self, begin: int, end: int) -> _Found:
        zero = self._zero
        start = time = value = zero
        is_int, flags, described = False, 0, []
        for number, kind, at, stop in fields(self._bytes, begin, end):
            if kind == FIXED64:
                self._kept[at:stop] = 0
                if number == 3:
                    time = at
                elif number == 2:
                    start = at
                elif number in (4, 6):
                    value, is_int = at, number == 6
            elif number == 7 and kind == BYTES:
                described.append(self._bytes[at:stop])
            elif number == 5 and kind == BYTES:
                self._exemplar(at, stop)
            elif number == 8 and kind == VARINT:
                flags = varint(self._bytes, at)[0]
        found = _attributes(tuple(described))
        return _Found(attributes=found, flags=flags, start=start, time=time, value=value, is_int=is_int)

    def _histogram(self, begin: int, end: int) -> _Found:
        zero = self._zero
        places = {2: zero, 3: zero, 4: zero, 5: zero}
        counts, bounds, flags, described = (0, 0), b"", 0, []
        for number, kind, at, stop in fields(self._bytes, begin, end):
            if kind == FIXED64:
                if number in (6, 7):
                    raise UnreadableError("buckets are not packed")
                self._kept[at:stop] = 0
                places[number] = at
            elif kind == BYTES:
                if number == 9:
                    described.append(self._bytes[at:stop])
                elif number == 6:
                    if counts[1] or (stop - at) % 8:
                        raise UnreadableError("buckets come in parts")
                    counts = at, stop
                    self._kept[at:stop] = 0
                elif number == 7:
                    if bounds or (stop - at) % 8:
                        raise UnreadableError("bounds come in parts")
                    bounds = self._bytes[at:stop]
                elif number == 8:
                    self._exemplar(at, stop)
            elif number == 10 and kind == VARINT:
                flags = varint(self._bytes, at)[0]
        return _Found(
            attributes=_attributes(tuple(described)),
            flags=flags,
            start=places[2],
            time=places[3],
            count=places[4],
            total=places[5],
            counts=counts,
            bounds=bounds,
        )

    def _exemplar(self, begin: int, end: int) -> None:
        """An exemplar's time, value and ids have a fixed width, too."""
        for number, kind, at, stop in fields(self._bytes, begin, end):
            if kind == FIXED64 or (kind == BYTES and number in (4, 5)):
                self._kept[at:stop] = 0

    def _read_numbers(self) -> Iterator[Numbers]:
        if not self._numbers:
            return
        time, start, value, is_int, scale, monotonic, delta = zip(*self._numbers, strict=True)
        yield Numbers(
            names=tuple(self._names),
            places=np.array([time, start, value], np.int64),
            is_int=np.array(is_int),
            scale=np.array(scale, float),
            is_scaled=any(each != 1.0 for each in scale),
            monotonic=np.array(monotonic),
            delta=np.array(delta),
        )


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise UnreadableError("text is not UTF-8") from None


@lru_cache(maxsize=4096)
def _attributes(described: Sequence[bytes]) -> Attributes:
    """The attributes of a point, from its KeyValue messages; most senders share them."""
    point = otlp.NumberDataPoint()
    for each in described:
        point.attributes.add().MergeFromString(each)
    return attributes(point.attributes)


@lru_cache(maxsize=256)
def _scope(raw: bytes) -> Scope:
    return scope(InstrumentationScope.FromString(raw))


@lru_cache(maxsize=256)
def _bounds(raw: bytes, scale: float) -> tuple[float, ...]:
    return tuple((np.frombuffer(raw, "<f8") * scale).tolist())
