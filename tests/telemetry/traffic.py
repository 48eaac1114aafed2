"""Realistic traffic in simulated time, reported as OTLP messages to a real collector.

`python -m tests.telemetry.traffic [seeds] [first seed]` prints how many false alarms, misses and seconds of delay
there are. The settings of the watches were chosen on seeds 0 to 39: take others to judge them.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry import conventions as names
from telemetry.collector import Collector
from telemetry.watching.alerts import Alert

START_S = 1_800_000_000.0
BOUNDS = names.REQUEST_DURATION.boundaries


def with_exemplar(
    request: ExportMetricsServiceRequest, value: float, now_s: float, trace_id: bytes
) -> ExportMetricsServiceRequest:
    """The request, whose first histogram shows in which trace a value was measured."""
    metrics = request.resource_metrics[0].scope_metrics[0].metrics
    point = next(metric for metric in metrics if metric.HasField("histogram")).histogram.data_points[0]
    point.exemplars.add(time_unix_nano=int(now_s * 1e9), as_double=value, trace_id=trace_id, span_id=trace_id[:8])
    return request


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


def attributes(**values: str | float) -> list[KeyValue]:
    """OTLP attributes; `__` in a name stands for a dot."""
    return [KeyValue(key=name.replace("__", "."), value=_any(value)) for name, value in values.items()]


def _any(value: str | float) -> AnyValue:
    match value:
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
    return AnyValue(double_value=value)


@dataclass
class Sender:
    """One process: counts requests in cumulative histograms as `telemetry.emitting.emitter` does."""

    service: str = "digits"
    instance: str = "replica-1"
    start_s: float = START_S
    delta: bool = False
    extra: list[otlp.Metric] = field(default_factory=list)
    resource: dict[str, str | float] = field(default_factory=dict)
    """Further resource attributes; without an `instance` these alone say which process it is."""
    clock_s: float = 0.0
    """How far its clock is ahead."""

    def __post_init__(self) -> None:
        self.counts: dict[int, np.ndarray] = {}
        self.totals: Counter[int] = Counter()
        self.start_s += self.clock_s
        self.last_s = self.start_s

    def request(self, statuses: dict[int, np.ndarray], now_s: float) -> ExportMetricsServiceRequest:
        """Count each status's durations (s) and report all."""
        now_s += self.clock_s
        for status, durations in statuses.items():
            counted = np.bincount(np.searchsorted(BOUNDS, durations), minlength=len(BOUNDS) + 1)
            self.counts[status] = self.counts.get(status, 0) + counted
            self.totals[status] += float(durations.sum())
        start_s = self.last_s if self.delta else self.start_s
        points = [
            otlp.HistogramDataPoint(
                attributes=attributes(http__response__status_code=status),
                start_time_unix_nano=int(start_s * 1e9),
                time_unix_nano=int(now_s * 1e9),
                count=int(counts.sum()),
                sum=self.totals[status],
                bucket_counts=counts.tolist(),
                explicit_bounds=BOUNDS,
            )
            for status, counts in self.counts.items()
        ]
        temporality = otlp.AGGREGATION_TEMPORALITY_DELTA if self.delta else otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
        self.last_s = now_s
        if self.delta:
            self.counts.clear()
            self.totals.clear()
        cpu = otlp.Metric(name="process.cpu.utilization", unit="1")
        cpu.gauge.data_points.add(time_unix_nano=int(now_s * 1e9), as_double=0.3)
        metrics = [cpu, *self.extra]
        if points:
            histogram = otlp.Histogram(data_points=points, aggregation_temporality=temporality)
            metrics.append(otlp.Metric(name="http.server.request.duration", unit="s", histogram=histogram))
        request = ExportMetricsServiceRequest()
        resource = request.resource_metrics.add()
        identity = {"service.instance.id": self.instance} if self.instance else {}
        resource.resource.attributes.extend(attributes(service__name=self.service, **identity, **self.resource))
        resource.scope_metrics.add(metrics=metrics)
        return request


@dataclass(frozen=True, kw_only=True)
class Steady:
    """Traffic as it is on a busy little machine: heavy tails, bad seconds, rates that wander."""

    rate: float = 100.0
    median_s: float = 0.002
    sigma: float = 0.5
    error_ratio: float = 0.002
    client_error_ratio: float = 0.01
    bad_second: float = 0.03
    """Probability of a second in which the tail, or the whole second, is 3 to 5 times as slow."""
    from_s: int = 0
    until_s: int = 10**9

    def second(self, rng: np.random.Generator, at_s: int) -> dict[int, np.ndarray]:
        """The durations of one second's requests by status."""
        if not self.from_s <= at_s < self.until_s:
            return {}
        num = rng.poisson(self.rate * rng.uniform(0.7, 1.3))
        durations = self.median_s * np.exp(self.sigma * rng.standard_normal(num))
        durations *= np.where(rng.random(num) < 0.01, rng.uniform(2, 10, num), 1.0)
        if rng.random() < self.bad_second:
            slow = rng.random(num) < (0.1 if rng.random() < 0.5 else 1.0)
            durations = np.where(slow, durations * rng.uniform(3, 5), durations)
        kinds = rng.choice([200, 500, 400], num, p=self._shares())
        return {int(status): durations[kinds == status] for status in np.unique(kinds)}

    def _shares(self) -> list[float]:
        return [1 - self.error_ratio - self.client_error_ratio, self.error_ratio, self.client_error_ratio]


Second = Callable[[np.random.Generator, int], dict[int, np.ndarray]]


def spiked(traffic: Steady, *, from_s: int, factor: float = 100.0) -> Second:
    """From `from_s` on every request takes `factor` times as long."""

    def second(rng: np.random.Generator, at_s: int) -> dict[int, np.ndarray]:
        statuses = traffic.second(rng, at_s)
        return {status: d * (factor if at_s >= from_s else 1) for status, d in statuses.items()}

    return second


def failing(traffic: Steady, *, from_s: int, status: int = 500, share: float = 0.3) -> Second:
    """From `from_s` on a share of the requests fails with `status`."""

    def second(rng: np.random.Generator, at_s: int) -> dict[int, np.ndarray]:
        statuses = traffic.second(rng, at_s)
        if at_s < from_s or 200 not in statuses:
            return statuses
        failed = rng.random(len(statuses[200])) < share
        moved = np.concatenate([statuses.get(status, np.empty(0)), statuses[200][failed]])
        return {**statuses, 200: statuses[200][~failed], status: moved}

    return second


def replay(
    second: Second, *, seconds: int, seed: int, num_instances: int = 1, delta: bool = False
) -> tuple[Collector, list[Alert]]:
    """Run `seconds` of traffic, exported every second with some jitter, through a collector."""
    rng, clock = np.random.default_rng(seed), Clock()
    collector = Collector(clock=clock)
    senders = [Sender(instance=f"replica-{index}", delta=delta) for index in range(num_instances)]
    phases = rng.uniform(0, 0.9, num_instances)
    phases[0] = 0.0
    for at_s in range(seconds):
        statuses = second(rng, at_s)
        owners = {status: rng.integers(num_instances, size=len(d)) for status, d in statuses.items()}
        order = np.argsort(phases)
        for index in order:
            mine = {status: d[owners[status] == index] for status, d in statuses.items()}
            clock.now_s = START_S + at_s + 1 + float(phases[index] + rng.uniform(0, 0.05))
            request = senders[index].request({s: d for s, d in mine.items() if len(d)}, clock.now_s)
            collector.receive_metrics(request)
        clock.now_s = START_S + at_s + 1.96
        collector.tick()
    return collector, list(collector.alerts)


def normal_days() -> Iterator[tuple[str, Second, int]]:
    """Ten minutes of everything that must not alert."""
    for rate in (5, 20, 100, 500, 2000):
        yield f"steady {rate}/s", Steady(rate=rate).second, 600
    yield "quick service, 0.3 ms", Steady(rate=200, median_s=0.0003).second, 600
    yield "slow service, 80 ms", Steady(rate=20, median_s=0.08, sigma=0.7).second, 600
    yield "1 request in 2 s", Steady(rate=0.5).second, 600
    yield "2 % server and 5 % client errors", Steady(rate=50, error_ratio=0.02, client_error_ratio=0.05).second, 600
    yield "from idle, ends", Steady(rate=50, from_s=120, until_s=400).second, 600


def _steps(rng: np.random.Generator, at_s: int) -> dict[int, np.ndarray]:
    rate = (5, 200, 20, 1500, 50)[at_s // 120]
    return Steady(rate=rate).second(rng, at_s)


def main() -> None:
    """Print the rates."""
    num_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    seeds = range(first, first + num_seeds)
    print(f"ten minutes each, {num_seeds} seeds from {first}: runs with a false alarm")
    for name, second, seconds in [*normal_days(), ("rate steps 5-1500/s", _steps, 600)]:
        raised = [replay(second, seconds=seconds, seed=seed, num_instances=1 + seed % 3)[1] for seed in seeds]
        signals = Counter(alert.signal for alerts in raised for alert in alerts)
        print(f"  {name:36s} {sum(map(bool, raised)):3d} of {num_seeds}  {dict(signals) or ''}")
    print("an incident after t seconds of traffic: missed (later than 15 s), delay in seconds median / largest")
    for rate in (5, 20, 200, 2000):
        for after_s in (30, 60, 300):
            for name, wrap, signal in (
                ("2 -> 200 ms", lambda t, s: spiked(t, from_s=s), "latency"),
                ("30 % 500", lambda t, s: failing(t, from_s=s), "server_errors"),
                ("30 % 400", lambda t, s: failing(t, from_s=s, status=400), "client_errors"),
            ):
                delays = []
                for seed in seeds:
                    _, alerts = replay(wrap(Steady(rate=rate), after_s), seconds=after_s + 20, seed=seed)
                    fired = [a.fired_s - START_S - after_s for a in alerts if a.signal == signal]
                    delays.append(min((d for d in fired if d >= 0), default=np.inf))
                missed = sum(delay > 15 for delay in delays)
                print(
                    f"  {rate:5d}/s, t = {after_s:3d}, {name:12s} missed {missed} of {num_seeds}, "
                    f"{np.median(delays):.1f} / {max(delays):.1f}"
                )


if __name__ == "__main__":
    main()
