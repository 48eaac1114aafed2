"""What an OTLP metrics request says, one checked data point at a time."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.receivers.attributes import MAX_TEXT, Attributes, attributes
from telemetry.series.distribution import ZERO_BUCKET, Buckets

MIN_SCALE, MAX_SCALE = -10, 20
"""Of exponential histograms, as the SDKs' own limits are."""

_DELTA = otlp.AGGREGATION_TEMPORALITY_DELTA
_CUMULATIVE = otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
NO_VALUE = otlp.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
"""The flag of a point that says there is none."""
UNIT_SCALES = {"ms": 1e-3, "us": 1e-6, "ns": 1e-9, "KiBy": 1024.0, "MiBy": 1024.0**2}
"""Units that are turned into the conventions' seconds and bytes on arrival."""


class Scope(NamedTuple):
    """Which library within the process measured: two may use one metric's name."""

    name: str = ""
    version: str = ""
    attributes: Attributes = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One data point: a gauge has no `delta` and no `monotonic`; times are Unix nanoseconds."""

    metric: str
    attributes: Attributes
    start_ns: int
    time_ns: int
    value: "float | Buckets"
    monotonic: bool = False
    delta: bool = False


class RefusedError(Exception):
    """A data point cannot be taken; the message says why, for the sender."""


def scope(instrumentation: InstrumentationScope) -> Scope:
    """The scope of the points that follow."""
    return Scope(
        name=instrumentation.name[:MAX_TEXT],
        version=instrumentation.version[:MAX_TEXT],
        attributes=attributes(instrumentation.attributes),
    )


def points(metric: otlp.Metric) -> Iterator[Point | RefusedError]:
    """The metric's data points; those that break a rule come as the refusal."""
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    for point in data.data_points:
        if point.flags & NO_VALUE:
            continue
        try:
            yield _point(metric, kind, data, point)
        except RefusedError as refusal:
            yield refusal


def _point(metric: otlp.Metric, kind: str, data: otlp.Sum, point: otlp.NumberDataPoint) -> Point:
    scale = UNIT_SCALES.get(metric.unit, 1.0)
    if point.time_unix_nano == 0:
        raise RefusedError(f"{metric.name}: time_unix_nano must be set, got 0")
    if kind == "gauge":
        temporality = _CUMULATIVE
    elif kind in ("sum", "histogram", "exponential_histogram"):
        temporality = data.aggregation_temporality
    else:
        raise RefusedError(f"{metric.name}: a {kind} is not understood; send a gauge, sum or histogram")
    if temporality not in (_DELTA, _CUMULATIVE):
        raise RefusedError(f"{metric.name}: aggregation_temporality must be delta or cumulative, got {temporality}")
    return Point(
        metric=metric.name[:MAX_TEXT],
        attributes=attributes(point.attributes),
        start_ns=point.start_time_unix_nano,
        time_ns=point.time_unix_nano,
        value=_VALUES[kind](metric.name, point, scale),
        monotonic=kind not in ("gauge", "sum") or (kind == "sum" and data.is_monotonic),
        delta=temporality == _DELTA,
    )


def _number(name: str, point: otlp.NumberDataPoint, scale: float) -> float:
    value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
    return _finite(name, value * scale)


def _explicit(name: str, point: otlp.HistogramDataPoint, scale: float) -> Buckets:
    bounds = tuple(bound * scale for bound in point.explicit_bounds)
    if list(bounds) != sorted(set(bounds)) or not all(map(math.isfinite, bounds)):
        raise RefusedError(f"{name}: explicit_bounds must be finite and increase, got {bounds}")
    if not point.bucket_counts:  # a histogram may come without buckets: only count and sum
        return Buckets(
            counts={0: point.count} if point.count else {}, total=_finite(name, point.sum * scale), bounds=()
        )
    if len(point.bucket_counts) != len(bounds) + 1:
        raise RefusedError(
            f"{name}: bucket_counts must be one more than explicit_bounds, "
            f"got {len(point.bucket_counts)} and {len(bounds)}"
        )
    counts = {index: count for index, count in enumerate(point.bucket_counts) if count}
    return Buckets(counts=counts, total=_finite(name, point.sum * scale), bounds=bounds)


def _exponential(name: str, point: otlp.ExponentialHistogramDataPoint, scale: float) -> Buckets:
    if not MIN_SCALE <= point.scale <= MAX_SCALE:
        raise RefusedError(f"{name}: scale must lie in [{MIN_SCALE}, {MAX_SCALE}], got {point.scale}")
    first = point.positive.offset
    counts = {first + index: count for index, count in enumerate(point.positive.bucket_counts) if count}
    if low := point.zero_count + sum(point.negative.bucket_counts):
        counts[ZERO_BUCKET] = low
    return Buckets(counts=counts, total=_finite(name, point.sum * scale), scale=point.scale, unit=scale)


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise RefusedError(f"{name}: values must be finite, got {value}")
    return value


_VALUES: dict[str, Callable[[str, Any, float], float | Buckets]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _explicit,
    "exponential_histogram": _exponential,
}
