"""What a request adds, found one point at a time: the rules that the matrices of `telemetry.series.table` must keep."""

from collections import deque
from dataclasses import dataclass, field, replace

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from telemetry.receivers.origin import origin
from telemetry.receivers.points import Point, RefusedError, points, scope
from telemetry.series.clock import MAX_AHEAD_S, SenderClock, is_near
from telemetry.series.distribution import Buckets
from telemetry.series.stream import Key
from tests.telemetry.series.remembering import Added


@dataclass
class _Sender:
    clock: SenderClock = field(default_factory=SenderClock)
    last_ns: int | None = None


@dataclass
class _Series:
    last: Point | None = None
    seen: deque = field(default_factory=lambda: deque(maxlen=64))


class OneByOne:
    """All series of all senders."""

    def __init__(self, started_s: float) -> None:
        self._started_ns = int(started_s * 1e9)
        self._now_s = started_s
        self._senders: dict[tuple[str, str], _Sender] = {}
        self._series: dict[Key, _Series] = {}

    def see(self, request: ExportMetricsServiceRequest, now_s: float) -> tuple[int, list[Added]]:
        """How many points are refused, and what the others add."""
        num_refused, added = 0, []
        self._follow(now_s)
        for resource in request.resource_metrics:
            found = []
            for within in resource.scope_metrics:
                for metric in within.metrics:
                    for point in points(metric):
                        if isinstance(point, RefusedError):
                            num_refused += 1
                        else:
                            found.append((scope(within.scope), point))
            sender = origin(resource.resource)
            added += self._take(sender.service, sender.instance, found, int(now_s * 1e9))
        return num_refused, added

    def _follow(self, now_s):
        step_s, self._now_s = now_s - self._now_s, now_s
        if step_s > -0.5:
            return
        for each in self._senders.values():
            each.last_ns = each.last_ns and each.last_ns + int(step_s * 1e9)
        for each in self._series.values():
            each.last = each.last and replace(each.last, time_ns=each.last.time_ns + int(step_s * 1e9))

    def _take(self, service, instance, found, now_ns):
        sender = self._senders.setdefault((service, instance), _Sender())
        times = sorted(point.time_ns for _, point in found)
        offset_ns, previous_ns = sender.clock.offset_ns, sender.last_ns
        if times and not all(is_near(time_ns + offset_ns, now_ns) for time_ns in times):
            offset_ns = sender.clock.see(times[len(times) // 2], now_ns)
        if times:
            latest_ns = max(each if is_near(each, now_ns) else now_ns for each in (t + offset_ns for t in times))
            if previous_ns is not None and latest_ns < previous_ns - int(MAX_AHEAD_S * 1e9):
                offset_ns = sender.clock.see_behind(times[-1], previous_ns, now_ns)
            else:
                sender.clock.see_in_order()
        for within, point in found:
            own_ns = offset_ns if is_near(point.time_ns + offset_ns, now_ns) else now_ns - point.time_ns
            sender.last_ns = max(sender.last_ns or 0, point.time_ns + own_ns)
            key = Key(service, instance, within, point.metric, point.attributes)
            if one := self._added(self._series.setdefault(key, _Series()), key, point, own_ns, previous_ns):
                yield one

    def _added(self, series, key, point, offset_ns, previous_ns):
        last, moved = series.last, replace(point, time_ns=point.time_ns + offset_ns)
        start_ns = point.start_ns + offset_ns if point.start_ns else 0
        is_newer = last is None or moved.time_ns > last.time_ns
        if not point.monotonic:
            start_ns, amount = moved.time_ns, point.value if is_newer or point.delta else None
            if point.delta and last is not None:
                amount = last.value + point.value
                moved = replace(moved, value=amount, time_ns=max(moved.time_ns, last.time_ns))
                start_ns, is_newer = point.time_ns + offset_ns, True
        elif point.delta:
            stamp = point.start_ns, point.time_ns
            amount = None if stamp in series.seen else point.value
            start_ns = start_ns or previous_ns or moved.time_ns
            if amount is not None:
                series.seen.append(stamp)
        elif last is None:
            if previous_ns is not None and previous_ns < moved.time_ns:
                start_ns = max(previous_ns, start_ns)
            elif start_ns < self._started_ns:
                start_ns = 0
            amount = point.value if start_ns else None
        elif not is_newer:
            amount = None
        else:
            rest = None if point.start_ns > last.start_ns else _minus(point.value, last.value)
            start_ns = last.time_ns if rest is not None else max(start_ns, last.time_ns)
            amount = point.value if rest is None else rest
        end_ns = point.time_ns + offset_ns
        if is_newer:
            series.last = moved
        if amount is None:
            return None
        if isinstance(amount, Buckets):
            amount = amount.total, tuple(sorted(amount.counts.items()))
        return Added(key, amount, start_ns, end_ns, not point.monotonic)


def _minus(new, old):
    if isinstance(new, Buckets):
        return new.since(old) if isinstance(old, Buckets) else None
    return new - old if new >= old else None
