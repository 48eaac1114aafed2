"""One service: its increments become frames, one per export interval, and frames the history of its signals.

    Increment -> Instance (rates, gauges) -> Frame (counts, distributions of all instances) -> History (what is plotted)

A frame ends when every instance that is alive has reported, so it covers what the senders' interval covers, be that
one second or sixty. An instance that stops reporting ends: its rates and gauges leave the sums.
"""

import math
import statistics
from collections.abc import Iterable

from telemetry import conventions as names
from telemetry.receivers.attributes import Attributes
from telemetry.receivers.origin import Origin
from telemetry.series.distribution import Buckets, Distribution
from telemetry.series.frame import MIN_INTERVAL_S, Frame
from telemetry.series.instance import UNKNOWN_INTERVAL_S, Instance, Rate
from telemetry.series.observation import OBSERVED, Observation
from telemetry.series.signals import DISTRIBUTIONS, signals, training_step
from telemetry.series.stream import Increment
from telemetry.series.track import Track

_RATES = {names.INFERENCE_SAMPLES.name: "samples", names.TRAIN_SAMPLES.name: "train_samples"}


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
        for increment in increments:
            instance = self.instances.get(increment.origin.instance)
            if instance is None:
                instance = Instance(origin=increment.origin, seen_s=now_s)
                self.instances[increment.origin.instance] = instance
            instance.hear(increment, now_s)
            self._count(instance, increment, now_s)

    def alive(self, now_s: float) -> list[Instance]:
        """The instances that have not ended."""
        return [instance for instance in self.instances.values() if instance.ends_s() >= now_s]

    def frame(self, now_s: float) -> Frame | None:
        """The frame that ends now, or None while instances are still to report."""
        if now_s < self._closed_s:
            self._go_back(now_s)
        alive = self.alive(now_s)
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

    def values(self, metric: str, now_s: float) -> list[tuple[Origin, Attributes, float]]:
        """A gauge's last values, of the version that began to report it last; where all instances ended, of those."""
        reporting = [instance for instance in self.instances.values() if metric in instance.gauges]
        reporting = [instance for instance in reporting if instance.ends_s() >= now_s] or reporting
        newest = max(reporting, key=lambda instance: instance.version_since_s, default=None)
        return [
            (instance.origin, attributes, value)
            for instance in reporting
            if newest and instance.origin.version == newest.origin.version
            for attributes, value in instance.gauges[metric].items()
        ]

    def remember(self, signal: str, times: Iterable[float], values: Iterable[float]) -> None:
        """Begin a signal's history with what was known of it before."""
        track = self.history[signal] = Track(self._retention_s, self._max_points)
        for time_s, value in zip(times, values, strict=True):
            track.append(float(time_s), float(value))

    def expire(self, now_s: float) -> None:
        """Forget instances that ended longer than the retention ago."""
        old = [name for name, instance in self.instances.items() if now_s - instance.seen_s > self._retention_s]
        for name in old:
            del self.instances[name]

    def _go_back(self, now_s: float) -> None:
        """Take the collector's clock as it is after it was set back: nobody was heard in the future."""
        self._closed_s = now_s
        for instance in self.instances.values():
            instance.go_back(now_s)

    def _clear(self) -> None:
        self._frame = Frame(time_s=0)
        self._distributions = {metric: Distribution() for metric in DISTRIBUTIONS}

    def _count(self, instance: Instance, increment: Increment, now_s: float) -> None:
        metric, amount = increment.key.metric, increment.amount
        if metric in OBSERVED:
            self._observe(increment)
        if isinstance(amount, Buckets):
            if metric == names.TRAIN_WORK_DURATION.name:
                instance.work.add(amount)
                instance.rank = str(dict(increment.key.attributes).get(names.RANK, increment.origin.instance))
            if metric not in self._distributions:
                return
            self._distributions[metric].add(amount)
            if metric == names.REQUEST_DURATION.name:
                instance.counted.total_s += amount.total
                self._count_requests(instance, increment, amount.num_values, now_s)
        elif increment.gauge:
            instance.gauges.setdefault(metric, {})[increment.key.attributes] = amount
        elif metric == names.CASCADE_ROWS.name:
            self._count_cascaded(increment, int(amount))
        elif metric in _RATES:
            instance.rates.setdefault(_RATES[metric], Rate()).add(increment, amount, now_s)

    def _observe(self, increment: Increment) -> None:
        key = increment.key
        self._frame.observations.append(
            Observation(
                metric=key.metric,
                attributes=key.attributes,
                version=increment.origin.version,
                amount=increment.amount,
            )
        )

    def _count_requests(self, instance: Instance, increment: Increment, num_requests: int, now_s: float) -> None:
        attributes = dict(increment.key.attributes)
        instance.counted.num_requests += num_requests
        instance.rates.setdefault("requests", Rate()).add(increment, num_requests, now_s)
        self._frame.num_requests += num_requests
        status = _status(attributes.get(names.STATUS_CODE))
        if 400 <= status < 500:
            self._frame.num_client_errors += num_requests
        elif status >= 500 or names.ERROR_TYPE in attributes:
            self._frame.num_server_errors += num_requests
            instance.counted.num_server_errors += num_requests

    def _count_cascaded(self, increment: Increment, num_rows: int) -> None:
        who = dict(increment.key.attributes).get(names.ANSWERED_BY)
        self._frame.num_cascaded += num_rows
        self._frame.num_sent += num_rows if who != "student" else 0
        self._frame.num_unanswered += num_rows if who == "unsure_student" else 0

    def _close(self, alive: list[Instance], now_s: float) -> Frame:
        frame = self._frame
        frame.time_s, frame.interval_s = now_s, max(now_s - self._closed_s, 1e-3)
        frame.num_instances, frame.step = len(alive), training_step(alive)
        frame.durations = self._distributions[names.REQUEST_DURATION.name]
        frame.work = {each.rank: each.work.mean() for each in alive if each.work.num_values}
        frame.instances = {instance.origin.instance: instance.frame() for instance in alive}
        for instance in alive:
            instance.close(now_s)
        frame.signals = signals(frame, self._distributions, alive)
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


def _status(value: str | int | float | bool | None) -> int:
    try:
        return int(value or 0)
    except (ValueError, OverflowError):
        return 0
