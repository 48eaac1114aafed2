"""One process of a service: when it reports, at what rates it counts, its gauges."""

import math
from dataclasses import dataclass, field

from telemetry import conventions as names
from telemetry.receivers.attributes import Attributes
from telemetry.receivers.origin import Origin
from telemetry.series.distribution import Distribution
from telemetry.series.frame import InstanceFrame
from telemetry.series.table import Table

UNKNOWN_INTERVAL_S = 60.0
"""Taken for an instance that has reported once: the SDK's default interval."""
SAME_REPORT_S = 0.1
"""Points of one report lie no further apart."""
NUM_MISSED = 2.5
"""Intervals without a report after which an instance has ended."""
NUM_IDLE = 1.5
"""Intervals in which an instance reports, but not a count, after which that count stands still."""
EARLY = 0.9
"""A report that comes after less than this share of the interval is one that a process sends as it ends."""


@dataclass(kw_only=True)
class Rate:
    """How fast an instance counts one thing."""

    per_s: float | None = None
    """As of the last frame; None before the first."""
    counted: float = 0.0
    covered_s: float = 0.0
    """Seconds in which `counted` was, since the last frame; attributes that share an interval share its seconds."""
    until_s: float = 0.0
    """End of the last such second, by the points' own times."""
    heard_s: float = 0.0
    """When the count was last reported, by the collector's clock."""

    def add(self, start_s: float, end_s: float, amount: float, now_s: float) -> None:
        """Count `amount` and the seconds it took."""
        self.covered_s += max(0.0, end_s - max(start_s, self.until_s))
        self.until_s = max(self.until_s, end_s)
        self.counted += amount
        self.heard_s = now_s

    def close(self, now_s: float, idle_s: float) -> None:
        """End a frame: the rate is what was counted in it, and 0 where nothing has been for more than `idle_s`, since
        senders of deltas leave out what stands still.
        """
        if self.covered_s > 0:
            self.per_s = self.counted / self.covered_s
            self.counted = self.covered_s = 0.0
        elif now_s - self.heard_s > idle_s:
            self.per_s = 0.0


@dataclass(kw_only=True)
class Instance:
    """One process."""

    origin: Origin
    seen_s: float
    interval_s: float = UNKNOWN_INTERVAL_S
    reported: bool = False
    """Whether it did since the last frame."""
    latest_s: float = 0.0
    """Its own time of its last report."""
    version_since_s: float = 0.0
    """When it began to report its version."""
    version_request: int = 0
    """The number of the first request that reported it."""
    gauges: dict[str, dict[Attributes, float]] = field(default_factory=dict)
    """Of the version it reports now, as of the last `read_gauges`."""
    gauge_rows: dict[tuple[Table, int], tuple[str, Attributes]] = field(default_factory=dict)
    """Where they come from."""
    rates: dict[str, Rate] = field(default_factory=dict)
    counted: InstanceFrame = field(default_factory=InstanceFrame)
    """Its requests since the last frame."""
    work: Distribution = field(default_factory=Distribution)
    """A train worker's own part of its steps since the last frame."""
    rank: str = ""
    is_early: bool = False
    """Whether its last report came off its interval, as the last one of a process that ends in order."""
    ended_s: float = 0.0
    """Its own time of the report in which it said that it ends in order."""
    step: str = ""
    """What a train worker trains: the step whose counts moved last."""
    step_since_s: float = 0.0

    @property
    def said_goodbye(self) -> bool:
        """Whether its last report was one that a process sends as it ends in order."""
        return self.is_early or 0 < self.latest_s < self.ended_s + SAME_REPORT_S

    def ends_s(self) -> float:
        """When it counts as ended, if nothing more comes."""
        return self.seen_s + max(3.0, NUM_MISSED * self.interval_s)

    def hear(self, origin: Origin, latest_s: float, request: int, now_s: float) -> None:
        """Note that it reported, as which version, until when by its own time; a repeated report is none."""
        if latest_s <= self.latest_s:
            return
        if origin.version != self.origin.version or not self.version_since_s:
            self.version_since_s, self.version_request = now_s, request  # gauges are what the version before was
        self.origin = origin
        if self.latest_s:
            self._space(max(0.05, latest_s - self.latest_s))
        self.latest_s = latest_s
        self.seen_s, self.reported = now_s, True

    def frame(self) -> InstanceFrame:
        """What it did since the last frame."""
        counted = self.counted
        counted.version, counted.role, counted.host = self.origin.version, self.origin.role, self.origin.host
        counted.memory = self.gauge(names.PROCESS_MEMORY_USAGE.name)
        counted.cpu = self.gauge(names.PROCESS_CPU_UTILIZATION.name)
        counted.available = self.gauge(names.MEMORY_AVAILABLE.name)
        return counted

    def say_goodbye(self, _start_s: float, end_s: float, _amount: float, _now_s: float) -> None:
        """Note that the report of this time says that it ends in order."""
        self.ended_s = end_s

    def train(self, step: str, now_s: float) -> None:
        """Note that it has counted something in a training step."""
        if step != self.step:
            self.step, self.step_since_s = step, now_s

    def read_gauges(self) -> None:
        """Take over the gauges' values from their rows.

        One that is left out of a request has not ended: constants are sent when they change.
        """
        self.gauges = {}
        for (table, row), (metric, attributes) in self.gauge_rows.items():
            if table.level_at[row] >= self.version_request:
                self.gauges.setdefault(metric, {})[attributes] = float(table.level[row])

    def go_back(self, now_s: float) -> None:
        """Nothing of it was heard after `now_s`, as the collector's clock was set back."""
        self.seen_s, self.latest_s = min(self.seen_s, now_s), min(self.latest_s, now_s)
        for rate in self.rates.values():
            rate.until_s, rate.heard_s = min(rate.until_s, now_s), min(rate.heard_s, now_s)

    def losses(self, step: str) -> list[float]:
        """Its losses in one training step, or in all where the step is not known; a loss may name none."""
        gauges = self.gauges.get(names.TRAIN_LOSS.name, {})
        return [
            loss for attributes, loss in gauges.items() if not step or dict(attributes).get(names.STEP, step) == step
        ]

    def gauge(self, metric: str) -> float:
        """The sum of a gauge's values over its attributes, as of the last `read_gauges`; NaN where it has none."""
        values = self.gauges.get(metric)
        return sum(values.values()) if values else math.nan

    def close(self, now_s: float) -> None:
        """End a frame."""
        idle_s = NUM_IDLE * self.interval_s if self.reported else math.inf
        for rate in self.rates.values():
            rate.close(now_s, idle_s)
        self.reported, self.work, self.counted = False, Distribution(), InstanceFrame()

    def _space(self, gap_s: float) -> None:
        """Note the time between two reports; a single one that comes early is the last, until another follows."""
        early = self.interval_s != UNKNOWN_INTERVAL_S and gap_s < EARLY * self.interval_s
        self.is_early = early and not self.is_early
        if not self.is_early:
            self.interval_s = gap_s
