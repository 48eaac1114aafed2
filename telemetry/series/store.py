"""Keeps the points of all series in bounded memory and tells what each one adds.

request -> origin (who) -> SenderClock (when) -> Stream (which series, what it adds) -> Increment
"""

import logging
from dataclasses import dataclass, field, replace

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics

from telemetry.receivers.origin import NOBODY, Origin, Peer, origin
from telemetry.receivers.points import Point, RefusedError, Scope, points, scope
from telemetry.series.clock import SenderClock
from telemetry.series.senders import Senders
from telemetry.series.stream import Increment, Key, Stream
from telemetry.series.track import Track

logger = logging.getLogger(__name__)


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


@dataclass(kw_only=True)
class _Sender:
    """What is known of one process."""

    clock: SenderClock = field(default_factory=SenderClock)
    last_ns: int | None = None
    """When it reported last."""


MOST_BACK_S = 0.5
"""A clock that goes back further was set; by less, it was adjusted."""


class SeriesStore:
    """All series, at most `max_series` of them; points of further ones are refused and counted."""

    def __init__(self, *, started_s: float, retention_s: float, max_series: int, max_points: int = 4000) -> None:
        self.num_refused = 0
        self.streams: dict[Key, Stream] = {}
        self._started_ns = int(started_s * 1e9)
        self._now_s = started_s
        self._retention_s = retention_s
        self._max_series = max_series
        self._max_points = max_points
        self._senders: dict[tuple[str, str], _Sender] = {}
        self._nameless = Senders()

    @property
    def num_skewed(self) -> int:
        """Senders whose clock is off, so that the collector's is used for them."""
        return sum(sender.clock.offset_ns != 0 for sender in self._senders.values())

    def ingest(self, request: ExportMetricsServiceRequest, now_s: float, peer: Peer = NOBODY) -> Outcome:
        """Keep the request's points and return what they add; a bad point is refused, the others are kept."""
        outcome = Outcome()
        self._follow(now_s)
        for resource in request.resource_metrics:
            self._ingest(resource, now_s, peer, outcome)
        self.num_refused += outcome.num_refused
        return outcome

    def of(self, service: str, metric: str) -> list[Stream]:
        """The service's series of one metric."""
        return [stream for key, stream in self.streams.items() if key.service == service and key.metric == metric]

    def expire(self, now_s: float) -> None:
        """Forget series to which nothing was added for the retention."""
        old = [key for key, stream in self.streams.items() if now_s - stream.touched_s > self._retention_s]
        for key in old:
            del self.streams[key]
        alive = {(key.service, key.instance) for key in self.streams}
        self._senders = {identity: sender for identity, sender in self._senders.items() if identity in alive}
        self._nameless.expire(alive)

    def _follow(self, now_s: float) -> None:
        """Move all that was received to before `now_s` where the collector's clock was set back: what comes next is not
        older than it."""
        step_s, self._now_s = now_s - self._now_s, now_s
        if step_s > -MOST_BACK_S:
            return
        step_ns = int(step_s * 1e9)
        for stream in self.streams.values():
            if stream.last is not None:
                stream.last = replace(stream.last, time_ns=stream.last.time_ns + step_ns)
        for sender in self._senders.values():
            if sender.last_ns is not None:
                sender.last_ns += step_ns

    def _ingest(self, resource: ResourceMetrics, now_s: float, peer: Peer, outcome: Outcome) -> None:
        sender, read = origin(resource.resource, peer), _read(resource, outcome)
        is_nameless = not sender.instance
        if is_nameless:
            totals = [(_key(sender, *each), each[1].start_ns) for each in read if _is_total(each[1])]
            sender = sender._replace(instance=self._nameless.name(sender.service, peer, totals))
        identity = (sender.service, sender.instance)
        process = self._senders.get(identity) or _Sender()
        previous_ns, latest_ns = process.last_ns, process.last_ns or 0
        for within, point in read:
            stream = self._find(_key(sender, within, point), outcome)
            if stream is None:
                continue
            if is_nameless and _is_total(point):
                self._nameless.learn(stream.key, point.start_ns)
            offset_ns = self._offset(process, sender, point, now_s)
            latest_ns = max(latest_ns, point.time_ns + offset_ns)
            stream.touched_s = now_s
            if increment := stream.take(
                point, sender, offset_ns=offset_ns, previous_ns=previous_ns, watched_ns=self._started_ns
            ):
                outcome.increments.append(increment)
        if latest_ns:
            process.last_ns = latest_ns
            self._senders[identity] = process

    def _offset(self, process: _Sender, sender: Origin, point: Point, now_s: float) -> int:
        was_right = process.clock.offset_ns == 0
        offset_ns = process.clock.see(point.time_ns, int(now_s * 1e9))
        if offset_ns and was_right:
            logger.warning(
                "the clock of %s, instance %s, must agree with the collector's, got %+.0f s; the collector's is used",
                sender.service,
                sender.instance,
                -offset_ns / 1e9,
            )
        return offset_ns

    def _find(self, key: Key, outcome: Outcome) -> Stream | None:
        stream = self.streams.get(key)
        if stream is None:
            if len(self.streams) >= self._max_series:
                outcome.refuse(
                    f"{key.metric}: max_series must not exceed {self._max_series}; "
                    "report fewer distinct attributes, or raise the collector's max_series"
                )
                return None
            stream = self.streams[key] = Stream(key=key, track=Track(self._retention_s, self._max_points))
        return stream


def _read(resource: ResourceMetrics, outcome: Outcome) -> list[tuple[Scope, Point]]:
    """The points of one process, each with its scope; what breaks a rule is refused."""
    read: list[tuple[Scope, Point]] = []
    for measured in resource.scope_metrics:
        within = scope(measured.scope)
        for point in (point for metric in measured.metrics for point in points(metric)):
            if isinstance(point, RefusedError):
                outcome.refuse(str(point))
            else:
                read.append((within, point))
    return read


def _key(sender: Origin, within: Scope, point: Point) -> Key:
    return Key(sender.service, sender.instance, within, point.metric, point.attributes)


def _is_total(point: Point) -> bool:
    """Whether the point counts since a time that its process alone began at."""
    return point.monotonic and not point.delta and point.start_ns > 0
