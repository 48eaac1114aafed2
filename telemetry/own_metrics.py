"""What the collector reports about itself, as a sender like any other: service `collector`.

So it is kept, plotted, queried, scraped and forwarded as everything else is.
"""

import os
import socket
import time
from collections.abc import Iterator

import psutil
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry import conventions as names
from telemetry.forwarding.forwarding import Forwarding
from telemetry.journal.journal import Journal
from telemetry.receivers.intake import Intake
from telemetry.series.store import SeriesStore

EVERY_S = 10.0

Measured = tuple[names.Instrument, dict[str, str], float]


class OwnMetrics:
    """Makes the collector's own requests."""

    def __init__(self, forwarding: Forwarding, journal: Journal | None, intake: Intake, series: SeriesStore) -> None:
        self._forwarding = forwarding
        self._intake = intake
        self._series = series
        self._process = psutil.Process()
        self._process.cpu_percent()
        self.longest_tick_s = 0.0
        """Since the last report."""
        self._journal = journal
        self._start_ns = time.time_ns()
        self._instance = f"{socket.gethostname()}:{os.getpid()}"

    def request(self, now_s: float) -> ExportMetricsServiceRequest:
        """All of it as of now."""
        request = ExportMetricsServiceRequest()
        resource = request.resource_metrics.add()
        named = {
            names.SERVICE_NAME: "collector",
            names.SERVICE_NAMESPACE: names.OWN_NAMESPACE,
            names.SERVICE_INSTANCE_ID: self._instance,
            names.ROLE: "collector",
        }
        resource.resource.attributes.extend(_attribute(*pair) for pair in named.items())
        metrics: dict[str, otlp.Metric] = {}
        scope = resource.scope_metrics.add()
        for instrument, attributes, value in self._measured():
            if instrument.name not in metrics:
                metrics[instrument.name] = scope.metrics.add(name=instrument.name, unit=instrument.unit)
            point = otlp.NumberDataPoint(time_unix_nano=int(now_s * 1e9), as_double=value)
            point.attributes.extend(_attribute(*pair) for pair in attributes.items())
            if instrument.kind in ("gauge", "updowncounter"):
                metrics[instrument.name].gauge.data_points.append(point)
                continue
            point.start_time_unix_nano = self._start_ns
            total = metrics[instrument.name].sum
            total.is_monotonic, total.aggregation_temporality = True, otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
            total.data_points.append(point)
        return request

    def _measured(self) -> Iterator[Measured]:
        yield names.PROCESS_CPU_UTILIZATION, {}, self._process.cpu_percent() / 100
        yield names.PROCESS_MEMORY_USAGE, {}, float(self._process.memory_info().rss)
        yield names.TICK_DURATION, {}, self.longest_tick_s
        self.longest_tick_s = 0.0
        yield from self._received()
        if self._journal:
            yield names.JOURNAL_SIZE, {}, self._journal.num_bytes
        for worker in self._forwarding.workers:
            backend = {names.BACKEND: worker.name}
            yield names.FORWARDED_REQUESTS, backend, worker.tally.num_delivered
            yield names.FORWARDING_RETRIES, backend, worker.tally.num_retries
            yield names.FORWARDING_DROPPED, backend | {names.ERROR_TYPE: "refused"}, worker.tally.num_dropped_items
            yield names.FORWARDING_DROPPED, backend | {names.ERROR_TYPE: "partial"}, worker.tally.num_refused_items
        for forwarder in self._forwarding.forwarders:
            yield names.FORWARDING_LAG, {names.BACKEND: forwarder.name}, forwarder.lag_bytes
            yield names.FORWARDING_LOST, {names.BACKEND: forwarder.name}, forwarder.num_lost
        for writer in self._forwarding.remote_writers:
            yield names.REMOTE_WRITE_LAG, {names.BACKEND: writer.name}, writer.lag_s

    def _received(self) -> Iterator[Measured]:
        """What came by the receivers; what the collector says of itself does not come by them, and counts nowhere."""
        for (signal, protocol, outcome), num in sorted(self._intake.num_requests.items()):
            attributes = {names.SIGNAL: signal, names.PROTOCOL: protocol, names.OUTCOME: outcome}
            yield names.RECEIVED_REQUESTS, attributes, num
        for (signal, protocol), num_bytes in sorted(self._intake.num_bytes.items()):
            yield names.RECEIVED_SIZE, {names.SIGNAL: signal, names.PROTOCOL: protocol}, num_bytes
        yield names.RECEIVED_POINTS, {}, self._series.num_points
        yield names.REFUSED_POINTS, {}, self._series.num_refused
        yield names.SERIES_COUNT, {}, self._series.num_series
        yield names.SERIES_OVERFLOWN, {}, self._series.binding.num_overflown
        yield names.SERIES_PENDING, {}, self._series.num_pending
        yield names.LAYOUTS_LEARNT, {}, self._series.templates.num_learnt
        yield names.CLOCKS_SKEWED, {}, self._series.num_skewed
        yield names.IN_FLIGHT_SIZE, {}, self._intake.memory.num_bytes


def _attribute(key: str, value: str) -> KeyValue:
    attribute = KeyValue(key=key)
    attribute.value.string_value = value
    return attribute
