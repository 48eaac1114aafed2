"""One service: what its series count becomes frames, one per export interval, and frames the history of its signals.

    Table -> Instance (rates, gauges) -> Frame (counts, distributions of all instances) -> History (what is plotted)

A frame ends when every instance that is alive has reported, so it covers what the senders' interval covers, be that
one second or sixty. An instance that stops reporting ends: its rates and gauges leave the sums.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from telemetry import conventions as names
from telemetry.receivers.attributes import Attributes
from telemetry.receivers.origin import Origin
from telemetry.series.audiences import Listener
from telemetry.series.distribution import Buckets, Distribution
from telemetry.series.frame import MIN_INTERVAL_S, Frame
from telemetry.series.instance import UNKNOWN_INTERVAL_S, Instance, Rate
from telemetry.series.members import Member, Members, buckets
from telemetry.series.observation import OBSERVED, Observation
from telemetry.series.prices import Prices
from telemetry.series.signals import DISTRIBUTIONS, signals, training_step
from telemetry.series.stream import Increment
from telemetry.series.table import Floats, Table
from telemetry.series.template import Name
from telemetry.series.track import Track

_RATES = {
    names.REQUEST_DURATION.name: "requests",
    names.INFERENCE_SAMPLES.name: "samples",
    names.TRAIN_SAMPLES.name: "train_samples",
}
_TRAINING = (names.TRAIN_STEP_DURATION.name, names.TRAIN_SAMPLES.name)
_COUNTED = {*DISTRIBUTIONS, *OBSERVED, names.TRAIN_WORK_DURATION.name, names.CASCADE_ROWS.name}
"""Metrics that a frame sums over all instances; of others it has rates and gauges."""


class Service:
    """One `service.name`: its instances, the frame that is being filled and the history of its signals."""

    def __init__(
        self, name: str, *, now_s: float, retention_s: float, max_points: int = 4000, prices: Prices | None = None
    ) -> None:
        self.name = name
        self.instances: dict[str, Instance] = {}
        self.history: dict[str, Track] = {}
        self.touched_s = now_s
        self.interval_s = MIN_INTERVAL_S
        self._prices = prices or Prices()
        self._retention_s = retention_s
        self._max_points = max_points
        self._closed_s = now_s
        self._members: dict[str, Members] = defaultdict(Members)
        self._extra: list[tuple[Instance, Increment]] = []
        """What was counted by series that have no rows."""

    def meet(self, origin: Origin, now_s: float) -> Instance:
        """The instance that sends, a new one where it was not known."""
        self.touched_s = now_s
        instance = self.instances.get(origin.instance)
        if instance is None:
            instance = self.instances[origin.instance] = Instance(origin=origin, seen_s=now_s)
        return instance

    def add_row(self, instance: Instance, name: Name, table: Table, row: int, *, is_gauge: bool) -> None:
        """Count what a row of a table adds, for this instance."""
        if name.metric == names.PROCESS_ENDED.name:
            table.listen(row, instance.say_goodbye, to_gauge=is_gauge)
        if is_gauge:
            instance.gauge_rows[table, row] = name.metric, name.attributes
            return
        for listener in _listeners(instance, name.metric, name.attributes):
            table.listen(row, listener)
        if name.metric in _COUNTED:
            self._members[name.metric].add(table, row, Member(instance, name.attributes))

    def drop_rows(self, places: Collection[tuple[Table, int]]) -> None:
        """Count these rows no more."""
        for members in self._members.values():
            members.drop(places)
        for instance in self.instances.values():
            for place in places:
                instance.gauge_rows.pop(place, None)

    def add(self, instance: Instance, increment: Increment, now_s: float) -> None:
        """Count what a series without a row added, an exponential histogram's."""
        assert isinstance(increment.amount, Buckets), "numbers have rows"
        if increment.key.metric in _COUNTED:
            self._extra.append((instance, increment))
        for listener in _listeners(instance, increment.key.metric, increment.key.attributes):
            listener(increment.start_s, increment.end_s, increment.amount.num_values, now_s)

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
        for instance in self.instances.values():
            instance.read_gauges()
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

    def _go_back(self, now_s: float) -> None:
        """Take the collector's clock as it is after it was set back: nobody was heard in the future."""
        self._closed_s = now_s
        for instance in self.instances.values():
            instance.go_back(now_s)

    def forget(self, instance: str) -> None:
        """Forget an instance whose process is forgotten."""
        self.instances.pop(instance, None)

    def _close(self, alive: list[Instance], now_s: float) -> Frame:
        frame = Frame(time_s=now_s, interval_s=max(now_s - self._closed_s, 1e-3), num_instances=len(alive))
        frame.step = training_step(alive)
        distributions = self._take_distributions(frame)
        frame.durations = distributions[names.REQUEST_DURATION.name]
        frame.work = {each.rank: each.work.mean() for each in alive if each.work.num_values}
        for instance in alive:
            instance.read_gauges()
        frame.instances = {instance.origin.instance: instance.frame() for instance in alive}
        for instance in alive:
            instance.close(now_s)
        frame.signals = signals(frame, distributions, alive, self._prices)
        for signal, value in frame.signals.items():
            if signal not in self.history:
                self.history[signal] = Track(self._retention_s, self._max_points)
            self.history[signal].append(now_s, value)
        self._closed_s = now_s
        return frame

    def _take_distributions(self, frame: Frame) -> Mapping[str, Distribution]:
        """Every distribution of the service; all else that was counted since the last frame goes to it, or to whom it
        is of.
        """
        found = {metric: Distribution() for metric in DISTRIBUTIONS}
        for metric, members in self._members.items():
            for table, counting, counted in members.take():
                if table.bounds is None:
                    for index in np.flatnonzero(counted).tolist():
                        _count(frame, metric, counting[index], float(counted[index]))
                elif metric in found:
                    found[metric].add(buckets(table.bounds, counted.sum(axis=0)))
                    if metric == names.REQUEST_DURATION.name:
                        _count_all_requests(frame, counting, counted)
                else:
                    for index in np.flatnonzero(counted[:, 1:].any(axis=1)).tolist():
                        _count(frame, metric, counting[index], buckets(table.bounds, counted[index]))
        extra, self._extra = self._extra, []
        for instance, increment in extra:
            metric, member = increment.key.metric, Member(instance, increment.key.attributes)
            if metric in found and isinstance(increment.amount, Buckets):
                found[metric].add(increment.amount)
                if metric == names.REQUEST_DURATION.name:
                    _count_requests(frame, member, increment.amount.num_values, increment.amount.total)
            else:
                _count(frame, metric, member, increment.amount)
        return found

    def _end(self, now_s: float) -> None:
        """Write once that the signals end, so that a plot shows a gap and not a last value for ever."""
        for track in self.history.values():
            if not math.isnan(track.values[-1]):
                track.append(now_s, math.nan)
        self._closed_s = now_s
        self._extra.clear()
        for members in self._members.values():
            for _ in members.take():
                pass


def _listeners(instance: Instance, metric: str, attributes: Attributes) -> Iterator[Listener]:
    """Who wants to know what a series of this metric counts, as soon as it is known."""
    if metric in _RATES:
        yield instance.rates.setdefault(_RATES[metric], Rate()).add
    if metric in _TRAINING:
        step = str(dict(attributes).get(names.STEP, ""))

        def train(start_s: float, end_s: float, amount: float, now_s: float) -> None:  # noqa: ARG001 - a Listener's
            if amount > 0:
                instance.train(step, now_s)

        yield train


def _count(frame: Frame, metric: str, member: Member, counted: float | Buckets) -> None:
    """What is no distribution of the service: rows that are watched or cascaded, a train worker's own time."""
    if metric in OBSERVED:
        version = member.instance.origin.version
        frame.observations.append(
            Observation(metric=metric, attributes=member.attributes, version=version, amount=counted)
        )
    elif metric == names.TRAIN_WORK_DURATION.name and isinstance(counted, Buckets):
        member.instance.work.add(counted)
        member.instance.rank = str(dict(member.attributes).get(names.RANK, member.instance.origin.instance))
    elif metric == names.CASCADE_ROWS.name and not isinstance(counted, Buckets):
        who, num_rows = dict(member.attributes).get(names.ANSWERED_BY), int(counted)
        frame.num_cascaded += num_rows
        frame.num_sent += num_rows if who != "student" else 0
        frame.num_unanswered += num_rows if who == "unsure_student" else 0


def _count_all_requests(frame: Frame, counting: Sequence[Member], counted: Floats) -> None:
    nums = counted[:, 1:].sum(axis=1)
    for index in np.flatnonzero(nums).tolist():
        _count_requests(frame, counting[index], int(nums[index]), float(counted[index, 0]))


def _count_requests(frame: Frame, member: Member, num_requests: int, total_s: float) -> None:
    attributes = dict(member.attributes)
    status = _status(attributes.get(names.STATUS_CODE))
    one = member.instance.counted
    one.total_s += total_s
    one.num_requests += num_requests
    frame.num_requests += num_requests
    if 400 <= status < 500:
        frame.num_client_errors += num_requests
    elif status >= 500 or names.ERROR_TYPE in attributes:
        frame.num_server_errors += num_requests
        one.num_server_errors += num_requests


def _status(value: str | int | float | bool | None) -> int:
    try:
        return int(value or 0)
    except (ValueError, OverflowError):
        return 0
