"""One series: its points, and what each of them adds.

OTLP totals may be cumulative or delta, restart, repeat and come out of order
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#temporality); an `Increment` is what happened between two
points whatever the sender's way.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from telemetry.receivers.attributes import Attributes
from telemetry.receivers.origin import Origin
from telemetry.receivers.points import Point, Scope
from telemetry.series.distribution import Buckets

NUM_REMEMBERED = 64
"""Delta points by which a repeated one is recognised."""


class Key(NamedTuple):
    """What a series is told apart by."""

    service: str
    instance: str
    scope: Scope
    metric: str
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Increment:
    """What one series counted in (start_s, end_s], or a gauge's value at end_s."""

    origin: Origin
    key: Key
    start_s: float
    end_s: float
    amount: float | Buckets
    gauge: bool = False


@dataclass(slots=True, kw_only=True)
class Stream:
    """One series, point by point: an exponential histogram, whose buckets change from one to the next.

    What has a fixed width is kept in a `Table`, by the same rules for many series at once.
    """

    key: Key
    touched_s: float = 0.0
    last: Point | None = None
    """The latest point, its end by the collector's clock, its start as the sender sent it."""
    seen: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=NUM_REMEMBERED))

    def take(
        self, point: Point, sender: Origin, *, offset_ns: int, previous_ns: int | None, watched_ns: int
    ) -> Increment | None:
        """What `point` adds; None where that is not known, or known already.

        `offset_ns` corrects the sender's clock. By the collector's, `previous_ns` is when the sender reported before,
        `watched_ns` since when anyone watches.
        """
        moved = replace(point, time_ns=point.time_ns + offset_ns) if offset_ns else point
        start_ns = point.start_ns + offset_ns if point.start_ns else 0
        if not point.monotonic:
            start_ns, amount = moved.time_ns, self._level(moved)
            moved = replace(moved, value=amount) if point.delta and amount is not None else moved
        elif point.delta:
            amount = self._new(point)
            start_ns = start_ns or previous_ns or moved.time_ns
        else:
            start_ns, amount = self._risen(moved, start_ns, previous_ns, watched_ns)
        if self.last is None or moved.time_ns > self.last.time_ns:
            self.last = moved
        if amount is None:
            return None
        return Increment(
            origin=sender,
            key=self.key,
            start_s=start_ns / 1e9,
            end_s=moved.time_ns / 1e9,
            amount=amount,
            gauge=not point.monotonic,
        )

    def _level(self, point: Point) -> float | Buckets | None:
        """A gauge's value; a delta one changes the value before."""
        if self.last is None:
            return point.value
        if not point.delta:
            return point.value if point.time_ns > self.last.time_ns else None
        return _plus(self.last.value, point.value)

    def _new(self, point: Point) -> float | Buckets | None:
        """A delta point's amount, unless it came before."""
        if (point.start_ns, point.time_ns) in self.seen:
            return None
        self.seen.append((point.start_ns, point.time_ns))
        return point.value

    def _risen(
        self, point: Point, start_ns: int, previous_ns: int | None, watched_ns: int
    ) -> tuple[int, float | Buckets | None]:
        """Since when a total has risen, and by how much."""
        if self.last is None:
            since_ns = _first_start(point, start_ns, previous_ns, watched_ns)
            return since_ns, point.value if since_ns else None
        if point.time_ns <= self.last.time_ns:
            return 0, None  # a repeat, or older than what is known: the newer total holds it already
        restarted = point.start_ns > self.last.start_ns
        continued = None if restarted else _minus(point.value, self.last.value)
        if continued is None:
            return max(start_ns, self.last.time_ns), point.value
        return self.last.time_ns, continued


def _first_start(point: Point, start_ns: int, previous_ns: int | None, watched_ns: int) -> int:
    """Since when a series that was unknown has counted, or 0 if that was before anyone here could watch.

    A known instance sends all its totals each time: a new one began after its previous export, however old the
    start time it claims.
    """
    if previous_ns is not None and previous_ns < point.time_ns:
        return max(previous_ns, start_ns)
    return start_ns if start_ns >= watched_ns else 0


def _minus(new: float | Buckets, old: float | Buckets) -> float | Buckets | None:
    """What came on top of `old`, or None after a reset."""
    if isinstance(new, Buckets):
        return new.since(old) if isinstance(old, Buckets) else None
    return new - old if not isinstance(old, Buckets) and new >= old else None


def _plus(old: float | Buckets, new: float | Buckets) -> float | Buckets:
    return old + new if not isinstance(old, Buckets) and not isinstance(new, Buckets) else new
