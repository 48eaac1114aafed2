"""Keeps the points of every (service, instance, metric, attributes) in bounded memory and tells what each one adds.

OTLP totals may be cumulative or delta, restart, repeat and come out of order
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#temporality); an `Increment` is what happened between two
points whatever the sender's way.
"""

import math
from array import array
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from telemetry.receivers.points import Key, Origin, Point, RefusedError, origin, points
from telemetry.series.distribution import Buckets

NUM_REMEMBERED = 64
"""Delta points by which a repeated one is recognised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Increment:
    """What one series counted in (start_s, end_s], or a gauge's value at end_s."""

    origin: Origin
    key: Key
    start_s: float
    end_s: float
    amount: float | Buckets
    gauge: bool = False


class Track:
    """Times and values, the oldest dropped when they are older than the retention: amortised O(1)."""

    def __init__(self, retention_s: float, max_points: int) -> None:
        self.times = array("d")
        self.values = array("d")
        self._retention_s = retention_s
        self._max_points = max_points

    def append(self, time_s: float, value: float) -> None:
        """Add a point; one that is older than the last goes where it belongs."""
        if self.times and time_s < self.times[-1]:
            where = bisect_left(self.times, time_s)
            self.times.insert(where, time_s)
            self.values.insert(where, value)
        else:
            self.times.append(time_s)
            self.values.append(value)
        expired = bisect_left(self.times, self.times[-1] - self._retention_s)
        expired = max(expired, len(self.times) - self._max_points)
        if expired > len(self.times) // 8:
            del self.times[:expired]
            del self.values[:expired]


@dataclass(slots=True, kw_only=True)
class Series:
    """One series: its points (a sum's as rate per second, a histogram's as mean) and what it takes to go on."""

    key: Key
    track: Track
    touched_s: float = 0.0
    last: Point | None = None
    seen: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=NUM_REMEMBERED))


@dataclass(kw_only=True)
class Outcome:
    """What became of one request's points."""

    increments: list[Increment] = field(default_factory=list)
    num_refused: int = 0
    reason: str = ""
    """Why the first refused point was refused."""

    def refuse(self, reason: str) -> None:
        """Count one refusal."""
        self.num_refused += 1
        self.reason = self.reason or reason


class SeriesStore:
    """All series, at most `max_series` of them; points of further ones are refused and counted."""

    def __init__(self, *, started_s: float, retention_s: float, max_series: int, max_points: int = 4000) -> None:
        self.num_refused = 0
        self.series: dict[Key, Series] = {}
        self._started_ns = int(started_s * 1e9)
        self._retention_s = retention_s
        self._max_series = max_series
        self._max_points = max_points
        self._last_ns: dict[tuple[str, str], int] = {}

    def ingest(self, request: ExportMetricsServiceRequest, now_s: float) -> Outcome:
        """Keep the request's points and return what they add; a bad point is refused, the others are kept."""
        outcome = Outcome()
        for resource in request.resource_metrics:
            sender = origin(resource.resource)
            identity = (sender.service, sender.instance)
            previous_ns = self._last_ns.get(identity)
            latest_ns = previous_ns or 0
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                for point in points(metric):
                    if isinstance(point, RefusedError):
                        outcome.refuse(str(point))
                        continue
                    series = self._find(Key(sender.service, sender.instance, point.metric, point.attributes), outcome)
                    if series is None:
                        continue
                    latest_ns = max(latest_ns, point.time_ns)
                    series.touched_s = now_s
                    if increment := self._step(series, sender, point, previous_ns):
                        outcome.increments.append(increment)
            if latest_ns:
                self._last_ns[identity] = latest_ns
        self.num_refused += outcome.num_refused
        return outcome

    def of(self, service: str, metric: str) -> list[Series]:
        """The service's series of one metric."""
        return [series for key, series in self.series.items() if key.service == service and key.metric == metric]

    def expire(self, now_s: float) -> None:
        """Forget series to which nothing was added for the retention."""
        old = [key for key, series in self.series.items() if now_s - series.touched_s > self._retention_s]
        for key in old:
            del self.series[key]
        alive = {(key.service, key.instance) for key in self.series}
        self._last_ns = {identity: last for identity, last in self._last_ns.items() if identity in alive}

    def _find(self, key: Key, outcome: Outcome) -> Series | None:
        series = self.series.get(key)
        if series is None:
            if len(self.series) >= self._max_series:
                outcome.refuse(
                    f"{key.metric}: max_series must not exceed {self._max_series}; "
                    "report fewer distinct attributes, or raise the collector's max_series"
                )
                return None
            series = self.series[key] = Series(key=key, track=Track(self._retention_s, self._max_points))
        return series

    def _step(self, series: Series, sender: Origin, point: Point, previous_ns: int | None) -> Increment | None:
        last, gauge = series.last, not point.monotonic
        start_ns = point.start_ns
        amount: float | Buckets | None = point.value
        if point.delta and not gauge:
            if (point.start_ns, point.time_ns) in series.seen:
                return None
            series.seen.append((point.start_ns, point.time_ns))
            start_ns = start_ns or previous_ns or point.time_ns
        elif last is not None and point.time_ns <= last.time_ns:
            return None  # a repeat, or older than what is known: the newer total holds it already
        elif gauge:
            if point.delta and last is not None:
                amount = _plus(last.value, point.value)
        elif last is None:
            start_ns = self._first_start(point, previous_ns)
            amount = point.value if start_ns else None
        else:
            restarted = point.start_ns > last.start_ns
            start_ns = max(point.start_ns, last.time_ns)
            continued = None if restarted else _minus(point.value, last.value)
            amount = point.value if continued is None else continued
        if last is None or point.time_ns > last.time_ns:
            series.last = point if not gauge or not point.delta else _with_value(point, amount)
        if amount is None:
            return None
        increment = Increment(
            origin=sender,
            key=series.key,
            start_s=start_ns / 1e9,
            end_s=point.time_ns / 1e9,
            amount=amount,
            gauge=gauge,
        )
        series.track.append(increment.end_s, _shown(increment))
        return increment

    def _first_start(self, point: Point, previous_ns: int | None) -> int:
        """Since when a series that was unknown has counted, or 0 if that was before anyone here could watch.

        A known instance sends all its totals each time: a new one began after its previous export, however old the
        start time it claims.
        """
        if previous_ns is not None and previous_ns < point.time_ns:
            return max(previous_ns, point.start_ns)
        return point.start_ns if point.start_ns >= self._started_ns else 0


def _minus(new: float | Buckets, old: float | Buckets) -> float | Buckets | None:
    """What came on top of `old`, or None after a reset."""
    if isinstance(new, Buckets):
        return new.since(old) if isinstance(old, Buckets) else None
    return new - old if not isinstance(old, Buckets) and new >= old else None


def _plus(old: float | Buckets, new: float | Buckets) -> float | Buckets:
    return old + new if not isinstance(old, Buckets) and not isinstance(new, Buckets) else new


def _with_value(point: Point, amount: float | Buckets | None) -> Point:
    assert amount is not None, "a gauge always has a value"
    return Point(
        metric=point.metric,
        attributes=point.attributes,
        start_ns=point.start_ns,
        time_ns=point.time_ns,
        value=amount,
    )


def _shown(increment: Increment) -> float:
    if isinstance(increment.amount, Buckets):
        count = increment.amount.num_values
        return increment.amount.total / count if count else math.nan
    if increment.gauge:
        return increment.amount
    return increment.amount / max(increment.end_s - increment.start_s, 1e-3)
