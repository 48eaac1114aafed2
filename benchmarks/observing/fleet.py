"""A simulated service under a simulated clock: what its processes count goes as OTLP messages to a real collector."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry import conventions as names
from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.storage.config import StorageConfig

START_S = 1_800_000_000.0
MIB = 2.0**20
BOUNDS = names.REQUEST_DURATION.boundaries
NEVER_S = 1e9
"""Seconds between two checkpoints: hours in seconds are more than a disk is made for."""


class Clock:
    """A clock that stands until it is set."""

    now_s = START_S

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@dataclass
class Load:
    """What a service does at one time; a fault changes it."""

    rate: float = 50.0
    median_s: float = 0.01
    sigma: float = 0.5
    error_ratio: float = 0.002
    memory: float = 300 * MIB
    available: float = math.nan
    """Memory that is left to each process, where it tells."""
    dead: bool = False


Fault = Callable[[Load, float], None]
"""Changes what a process does, given for how many seconds the fault has lasted."""


@dataclass
class Process:
    """One replica: totals since its start."""

    service: str
    name: str
    version: str
    start_s: float
    counts: dict[int, np.ndarray] = field(default_factory=dict)
    sums: dict[int, float] = field(default_factory=dict)

    def report(
        self, load: Load, seconds: float, random: np.random.Generator, now_s: float, *, ends: bool = False
    ) -> ExportMetricsServiceRequest:
        """Count what came in `seconds` and report all totals; the last time with a goodbye."""
        durations = load.median_s * np.exp(load.sigma * random.standard_normal(random.poisson(load.rate * seconds)))
        failed = random.random(len(durations)) < load.error_ratio
        for status, which in ((200, ~failed), (500, failed)):
            if which.any() or status in self.counts:
                placed = np.searchsorted(BOUNDS, durations[which])
                before = self.counts.get(status, np.zeros(len(BOUNDS) + 1, int))
                self.counts[status] = before + np.bincount(placed, minlength=len(BOUNDS) + 1)
                self.sums[status] = self.sums.get(status, 0.0) + float(durations[which].sum())
        time_ns = int(now_s * 1e9)
        metrics = [
            _gauge(names.PROCESS_MEMORY_USAGE.name, load.memory * random.uniform(0.98, 1.02), time_ns),
            _gauge(names.PROCESS_CPU_UTILIZATION.name, 0.3, time_ns),
        ]
        if not math.isnan(load.available):
            metrics.append(_gauge(names.MEMORY_AVAILABLE.name, load.available, time_ns))
        if ends:
            metrics.append(_gauge(names.PROCESS_ENDED.name, 1.0, time_ns))
        histogram = otlp.Histogram(aggregation_temporality=otlp.AGGREGATION_TEMPORALITY_CUMULATIVE)
        for status, counts in self.counts.items():
            histogram.data_points.add(
                attributes=[KeyValue(key=names.STATUS_CODE, value=AnyValue(int_value=status))],
                start_time_unix_nano=int(self.start_s * 1e9),
                time_unix_nano=time_ns,
                count=int(counts.sum()),
                sum=self.sums[status],
                bucket_counts=counts.tolist(),
                explicit_bounds=BOUNDS,
            )
        metrics.append(otlp.Metric(name=names.REQUEST_DURATION.name, unit="s", histogram=histogram))
        request = ExportMetricsServiceRequest()
        resource = request.resource_metrics.add()
        said = {
            names.SERVICE_NAME: self.service,
            names.SERVICE_INSTANCE_ID: self.name,
            names.SERVICE_VERSION: self.version,
            names.ROLE: "replica",
            names.HOST_NAME: "node-1",
        }
        for key, text in said.items():
            resource.resource.attributes.add(key=key, value=AnyValue(string_value=text))
        resource.scope_metrics.add(metrics=metrics)
        return request


class Fleet:
    """The replicas of one service, which share its load."""

    def __init__(
        self,
        *,
        seed: int = 0,
        service: str = "digits",
        num_replicas: int = 1,
        interval_s: float = 1.0,
        folder: Path | None = None,
    ) -> None:
        self.clock, self.random = Clock(), np.random.default_rng(seed)
        self.interval_s, self.service = interval_s, service
        self.ahead_s = 0.0
        """How far the processes' clocks are ahead of the collector's."""
        self._folder = folder
        self.collector = self._collector()
        self._num_begun = 0
        self.processes = [self.begin("1") for _ in range(num_replicas)]

    @property
    def elapsed_s(self) -> float:
        """Since the simulation began."""
        return self.clock.now_s - START_S

    def begin(self, version: str) -> Process:
        """A new process."""
        self._num_begun += 1
        return Process(self.service, f"replica-{self._num_begun}", version, self.clock.now_s)

    def roll(self, version: str) -> None:
        """Replace all processes in order by those of another version."""
        for process in self.processes:
            self._send(process, Load(rate=0.0), 0.3 * self.interval_s, ends=True)
        self.processes = [self.begin(version) for _ in self.processes]

    def scale(self, number: int) -> None:
        """Begin or end processes in order."""
        while len(self.processes) > number:
            self._send(self.processes.pop(), Load(rate=0.0), 0.3 * self.interval_s, ends=True)
        while len(self.processes) < number:
            self.processes.append(self.begin(self.processes[0].version))

    def restart_processes(self) -> None:
        """Kill all processes; others are there at once."""
        self.processes = [self.begin(process.version) for process in self.processes]

    def restart_collector(self) -> None:
        """End the collector without a word; another goes on from its folder."""
        self.collector.data.close()
        self.collector = self._collector()

    def step(self, load: Callable[[float, int], Load]) -> None:
        """Let one interval pass; `load` says what the service does then, and what each process makes of it."""
        self.clock.now_s += self.interval_s
        for place, process in enumerate(self.processes):
            mine = load(self.elapsed_s, place)
            if not mine.dead:
                mine.rate /= len(self.processes)
                self._send(process, mine, self.interval_s)
        self.collector.tick()

    def _send(self, process: Process, load: Load, seconds: float, *, ends: bool = False) -> None:
        late_s = 0.02 * float(self.random.random())
        now_s = self.clock.now_s + self.ahead_s + late_s
        report = process.report(load, seconds, self.random, now_s, ends=ends)
        self.collector.receive_metrics(report)

    def _collector(self) -> Collector:
        config = CollectorConfig(data_dir=self._folder, storage=StorageConfig(checkpoint_s=NEVER_S))
        return Collector(config, clock=self.clock)


def _gauge(name: str, value: float, time_ns: int) -> otlp.Metric:
    metric = otlp.Metric(name=name)
    metric.gauge.data_points.add(time_unix_nano=time_ns, as_double=value)
    return metric
