"""Turns a service's increments into its signals, one frame per export interval.

    Increment -> Instance (rates, gauges) -> Frame (counts, distributions of all instances) -> History (what is plotted)

A frame ends when every instance that is alive has reported, so it covers what the senders' interval covers, be that
one second or sixty. An instance that stops reporting ends: its rates and gauges leave the sums.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from telemetry import conventions as names
from telemetry.receivers.points import Attributes, Origin
from telemetry.series.distribution import Buckets, Distribution
from telemetry.series.store import Increment, Track

MIN_INTERVAL_S = 1.0
UNKNOWN_INTERVAL_S = 60.0
"""Taken for an instance that has reported once: the SDK's default interval."""
NUM_MISSED = 2.5
"""Intervals without a report after which an instance has ended."""

_RATES = {names.INFERENCE_SAMPLES.name: "samples", names.TRAIN_SAMPLES.name: "train_samples"}


@dataclass(kw_only=True)
class Instance:
    """One process: when it reported, at what rate it counts, its gauges."""

    origin: Origin
    seen_s: float
    interval_s: float = UNKNOWN_INTERVAL_S
    reported: bool = False
    """Whether it did since the last frame."""
    latest_s: float = 0.0
    """Its own time of its last report."""
    gauges: dict[str, dict[Attributes, float]] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    counted: dict[str, float] = field(default_factory=dict)
    covered: dict[str, list[float]] = field(default_factory=dict)
    """By signal: seconds covered since the last frame, and until when."""
    work: Distribution = field(default_factory=Distribution)
    """A train worker's own part of its steps since the last frame."""
    rank: str = ""

    def ends_s(self) -> float:
        """When it counts as ended, if nothing more comes."""
        return self.seen_s + max(3.0, NUM_MISSED * self.interval_s)


@dataclass(kw_only=True)
class Frame:
    """What a service did in one interval, all instances together."""

    time_s: float
    interval_s: float = MIN_INTERVAL_S
    num_instances: int = 1
    num_requests: int = 0
    num_server_errors: int = 0
    num_client_errors: int = 0
    durations: Distribution = field(default_factory=Distribution)
    signals: dict[str, float] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    """Mean seconds of a step that each train worker spent on its own, by rank."""


class Service:
    """One `service.name`: its instances, the frame that is being filled and the history of its signals."""

    def __init__(self, name: str, *, now_s: float, retention_s: float, max_points: int = 4000) -> None:
        self.name = name
        self.instances: dict[str, Instance] = {}
        self.history: dict[str, Track] = {}
        self.touched_s = now_s
        self.interval_s = MIN_INTERVAL_S
        self._retention_s = retention_s
        self._max_points = max_points
        self._closed_s = now_s
        self._clear()

    def add(self, increments: Iterable[Increment], now_s: float) -> None:
        """Take what one request of this service added."""
        self.touched_s = now_s
        instance: Instance | None = None
        for increment in increments:
            instance = self.instances.get(increment.origin.instance)
            if instance is None:
                instance = Instance(origin=increment.origin, seen_s=now_s)
                self.instances[increment.origin.instance] = instance
            instance.origin = increment.origin  # a replica may come to serve another version
            if instance.latest_s and increment.end_s > instance.latest_s:
                instance.interval_s = max(0.05, increment.end_s - instance.latest_s)
            instance.latest_s = max(instance.latest_s, increment.end_s)
            instance.seen_s, instance.reported = now_s, True
            self._count(instance, increment)

    def frame(self, now_s: float) -> Frame | None:
        """The frame that ends now, or None while instances are still to report."""
        alive = [instance for instance in self.instances.values() if instance.ends_s() >= now_s]
        if not alive:
            self._end(now_s)
            return None
        known = [instance.interval_s for instance in alive if instance.interval_s != UNKNOWN_INTERVAL_S]
        self.interval_s = max(MIN_INTERVAL_S, statistics.median(known)) if known else MIN_INTERVAL_S
        age_s = now_s - self._closed_s
        if age_s < 0.5 * self.interval_s or not any(instance.reported for instance in alive):
            return None
        if age_s < 1.5 * self.interval_s and not all(instance.reported for instance in alive):
            return None
        return self._close(alive, now_s)

    def values(self, metric: str) -> list[tuple[Origin, Attributes, float]]:
        """A gauge's last values, of instances that ended too."""
        return [
            (instance.origin, attributes, value)
            for instance in self.instances.values()
            for attributes, value in instance.gauges.get(metric, {}).items()
        ]

    def expire(self, now_s: float) -> None:
        """Forget instances that ended longer than the retention ago."""
        old = [name for name, instance in self.instances.items() if now_s - instance.seen_s > self._retention_s]
        for name in old:
            del self.instances[name]

    def _clear(self) -> None:
        self._frame = Frame(time_s=0)
        self._distributions = {metric: Distribution() for metric in _DISTRIBUTIONS}

    def _count(self, instance: Instance, increment: Increment) -> None:
        metric, amount = increment.key.metric, increment.amount
        if isinstance(amount, Buckets):
            if metric == names.TRAIN_WORK_DURATION.name:
                instance.work.add(amount)
                instance.rank = str(dict(increment.key.attributes).get(names.RANK, increment.origin.instance))
            if metric not in self._distributions:
                return
            self._distributions[metric].add(amount)
            if metric == names.REQUEST_DURATION.name:
                self._count_requests(instance, increment, amount.num_values)
        elif increment.gauge:
            instance.gauges.setdefault(metric, {})[increment.key.attributes] = amount
        elif metric in _RATES:
            _cover(instance, _RATES[metric], increment, amount)

    def _count_requests(self, instance: Instance, increment: Increment, num_requests: int) -> None:
        attributes = dict(increment.key.attributes)
        _cover(instance, "requests", increment, num_requests)
        self._frame.num_requests += num_requests
        status = _status(attributes.get(names.STATUS_CODE))
        if 400 <= status < 500:
            self._frame.num_client_errors += num_requests
        elif status >= 500 or names.ERROR_TYPE in attributes:
            self._frame.num_server_errors += num_requests

    def _close(self, alive: list[Instance], now_s: float) -> Frame:
        for instance in alive:
            for signal, (seconds, _) in instance.covered.items():
                if seconds > 0:
                    instance.rates[signal] = instance.counted[signal] / seconds
                    instance.counted[signal] = instance.covered[signal][0] = 0.0
            instance.reported = False
        frame = self._frame
        frame.time_s, frame.interval_s = now_s, max(now_s - self._closed_s, 1e-3)
        frame.num_instances = len(alive)
        frame.durations = self._distributions[names.REQUEST_DURATION.name]
        frame.work = {each.rank: each.work.mean() for each in alive if each.work.num_values}
        for instance in alive:
            instance.work = Distribution()
        frame.signals = _signals(frame, self._distributions, alive)
        for signal, value in frame.signals.items():
            if signal not in self.history:
                self.history[signal] = Track(self._retention_s, self._max_points)
            self.history[signal].append(now_s, value)
        self._closed_s = now_s
        self._clear()
        return frame

    def _end(self, now_s: float) -> None:
        """Write once that the signals end, so that a plot shows a gap and not a last value for ever."""
        for track in self.history.values():
            if not math.isnan(track.values[-1]):
                track.append(now_s, math.nan)
        self._closed_s = now_s
        self._clear()


_DISTRIBUTIONS = (
    names.REQUEST_DURATION.name,
    names.QUEUE_DURATION.name,
    names.INFERENCE_DURATION.name,
    names.INFERENCE_BATCH_SIZE.name,
    names.TRAIN_STEP_DURATION.name,
)


def _signals(frame: Frame, distributions: dict[str, Distribution], alive: list[Instance]) -> dict[str, float]:
    """All signals this service has; NaN is one that says nothing in this frame, such as the latency of no request."""
    p50, p95, p99 = frame.durations.quantiles(0.5, 0.95, 0.99)
    (queue_p95,) = distributions[names.QUEUE_DURATION.name].quantiles(0.95)
    (inference_p95,) = distributions[names.INFERENCE_DURATION.name].quantiles(0.95)
    (train_step_p95,) = distributions[names.TRAIN_STEP_DURATION.name].quantiles(0.95)
    num = frame.num_requests
    signals = {
        "latency_p50": p50,
        "latency_p95": p95,
        "latency_p99": p99,
        "server_error_ratio": frame.num_server_errors / num if num else math.nan,
        "client_error_ratio": frame.num_client_errors / num if num else math.nan,
        "queue_p95": queue_p95,
        "inference_p95": inference_p95,
        "batch_size": distributions[names.INFERENCE_BATCH_SIZE.name].mean(),
        "train_step": distributions[names.TRAIN_STEP_DURATION.name].mean(),
        "train_step_p95": train_step_p95,
    }
    signals["straggler"] = max(slowness(frame.work).values(), default=math.nan)
    for signal, rate in (("throughput", "requests"), ("samples", "samples"), ("train_samples", "train_samples")):
        rates = [instance.rates[rate] for instance in alive if rate in instance.rates]
        signals[signal] = sum(rates) if rates else math.nan
    signals["cpu"] = _sum(alive, names.PROCESS_CPU_UTILIZATION.name)
    signals["memory"] = _sum(alive, names.PROCESS_MEMORY_USAGE.name)
    busy = _devices(alive, names.GPU_UTILIZATION.name)
    used = _devices(alive, names.GPU_MEMORY_USAGE.name)
    losses = [loss for instance in alive for loss in instance.gauges.get(names.TRAIN_LOSS.name, {}).values()]
    signals["gpu"] = statistics.fmean(busy) if busy else math.nan
    signals["gpu_memory"] = sum(used) if used else math.nan
    signals["train_loss"] = statistics.fmean(losses) if losses else math.nan
    return signals


def slowness(work: dict[str, float]) -> dict[str, float]:
    """Each worker's own time in a step over the median of the others'; nothing where there is but one."""
    return {
        rank: seconds / statistics.median(other for name, other in work.items() if name != rank)
        for rank, seconds in work.items()
        if len(work) > 1
    }


def _sum(alive: list[Instance], metric: str) -> float:
    values = [value for instance in alive for value in instance.gauges.get(metric, {}).values()]
    return sum(values) if values else math.nan


def _devices(alive: list[Instance], metric: str) -> list[float]:
    """A GPU's gauge once per GPU, though each process that may use it reports it."""
    devices = {device: value for i in alive for device, value in i.gauges.get(metric, {}).items()}
    return list(devices.values())


def _cover(instance: Instance, signal: str, increment: Increment, amount: float) -> None:
    """Count `amount` and the seconds it took; attributes that share an interval share its seconds."""
    seconds = instance.covered.setdefault(signal, [0.0, 0.0])
    seconds[0] += max(0.0, increment.end_s - max(increment.start_s, seconds[1]))
    seconds[1] = max(seconds[1], increment.end_s)
    instance.counted[signal] = instance.counted.get(signal, 0.0) + amount


def _status(value: str | int | float | bool | None) -> int:
    try:
        return int(value or 0)
    except ValueError:
        return 0
