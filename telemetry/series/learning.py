"""Reads one request field by field and learns where its values stand: the template of those like it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.receivers.attributes import MAX_TEXT, Attributes
from telemetry.receivers.points import NO_VALUE, UNIT_SCALES, Scope
from telemetry.series.described import attributes_of, bounds_of, scope_of, text
from telemetry.series.template import Exemplars, Histograms, Name, Numbers, Template
from telemetry.series.wire import BYTES, FIXED64, VARINT, UnreadableError, fields, varint

_GAUGE, _SUM, _HISTOGRAM, _EXPONENTIAL, _SUMMARY = 5, 7, 9, 10, 11
_KINDS = {_GAUGE: "gauge", _SUM: "sum", _HISTOGRAM: "histogram", _SUMMARY: "summary"}
_DELTA, _CUMULATIVE = otlp.AGGREGATION_TEMPORALITY_DELTA, otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
_ID_BYTES = {4: 8, 5: 16}  # of an exemplar's span and trace


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


class _Linked(NamedTuple):
    """One exemplar's places."""

    time: int
    value: int
    span: int
    trace: int
    is_int: bool


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
    linked: list[_Linked] = field(default_factory=list)


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
        self._linked: list[tuple[Name, tuple[float, ...], _Linked, float]] = []
        self._units: dict[str, str] = {}

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
            exemplars=self._exemplars(),
            units=self._units,
        )

    def read_scope(self, begin: int, end: int) -> None:
        """A ScopeMetrics message."""
        within, metrics = Scope(), []
        for number, kind, at, stop in fields(self._bytes, begin, end):
            if number == 1 and kind == BYTES:
                within = scope_of(self._bytes[at:stop])
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
                name = text(self._bytes[at:stop])[:MAX_TEXT]
            elif number == 3:
                unit = text(self._bytes[at:stop])
            elif _GAUGE <= number <= _SUMMARY:
                if data[0]:
                    raise UnreadableError("a metric has two kinds of data")
                data = number, at, stop
        if unit:
            self._units[name] = unit[:MAX_TEXT]
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
            name = Name(within, metric, each.attributes)
            if each.flags & NO_VALUE:
                continue
            if problem := self._problem(data, temporality, each):
                self._refused.append(f"{metric}: {problem}")
                continue
            bounds = bounds_of(each.bounds, scale)
            self._linked += [(name, bounds, linked, scale) for linked in each.linked]
            if is_histogram:
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
        bounds = bounds_of(found.bounds, scale) if counts else ()  # a histogram may come without buckets
        group = self._groups.setdefault((bounds, scale), _Group())
        group.names.append(name)
        group.places.append([found.time, found.start, found.total, *(counts or [found.count])])
        group.delta.append(delta)

    def _number(self, begin: int, end: int) -> _Found:
        zero = self._zero
        start = time = value = zero
        is_int, flags, described = False, 0, []
        linked: list[_Linked] = []
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
                linked += self._exemplar(at, stop)
            elif number == 8 and kind == VARINT:
                flags = varint(self._bytes, at)[0]
        found = attributes_of(tuple(described))
        return _Found(attributes=found, flags=flags, start=start, time=time, value=value, is_int=is_int, linked=linked)

    def _histogram(self, begin: int, end: int) -> _Found:
        zero = self._zero
        places = {2: zero, 3: zero, 4: zero, 5: zero}
        counts, bounds, flags, described = (0, 0), b"", 0, []
        linked: list[_Linked] = []
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
                    linked += self._exemplar(at, stop)
            elif number == 10 and kind == VARINT:
                flags = varint(self._bytes, at)[0]
        return _Found(
            attributes=attributes_of(tuple(described)),
            flags=flags,
            start=places[2],
            time=places[3],
            count=places[4],
            total=places[5],
            counts=counts,
            bounds=bounds,
            linked=linked,
        )

    def _exemplar(self, begin: int, end: int) -> list[_Linked]:
        """An exemplar's time, value and ids have a fixed width, too; one without a trace links to nothing."""
        places = dict.fromkeys((2, 3, 4, 5, 6), self._zero)
        for number, kind, at, stop in fields(self._bytes, begin, end):
            if kind == FIXED64 or (kind == BYTES and number in (4, 5)):
                self._kept[at:stop] = 0
                if kind == FIXED64 or stop - at == _ID_BYTES[number]:
                    places[number] = at
        is_int = places[6] != self._zero
        if places[4] == self._zero or places[5] == self._zero:
            return []
        return [_Linked(places[2], places[6] if is_int else places[3], places[4], places[5], is_int)]

    def _exemplars(self) -> Exemplars | None:
        if not self._linked:
            return None
        names, bounds, linked, scale = zip(*self._linked, strict=True)
        return Exemplars(
            names=names,
            bounds=bounds,
            places=np.array(
                [(each.time, each.value, each.span, each.trace, each.trace + 8) for each in linked], np.int64
            ).T,
            is_int=np.array([each.is_int for each in linked]),
            scale=np.array(scale, float),
        )

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
