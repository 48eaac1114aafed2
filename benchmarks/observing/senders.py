"""Realistic OTLP senders for the collector's figures: bodies made beforehand, gzip, values and times that go on.

Half are Trimtab's replicas with layouts of several models, half real SDK exporters' bytes: other names, attributes of
their own, some of them in delta temporality, so that what they send changes its layout.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from telemetry import conventions as names

Attributes = dict[str, str | int]

STATUSES = (200, 201, 400, 404, 429, 503)
SPANS = 512
"""Of one request: the SDK's own default."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """One request as it goes over the wire."""

    path: str
    content: bytes
    num: int
    """Its points or spans."""


class Replica:
    """A process with some fifty series, by OpenTelemetry's SDK; each has its own names, so its own layout."""

    def __init__(self, number: int) -> None:
        self._rng = np.random.default_rng(number)
        delta = number % 4 == 3
        temporality = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
        self._reader = InMemoryMetricReader({Counter: temporality, Histogram: temporality})
        resource = Resource.create(
            {
                names.SERVICE_NAME: f"model-{number % 8}",
                names.SERVICE_NAMESPACE: names.OWN_NAMESPACE if number % 2 else "shop",
                names.SERVICE_INSTANCE_ID: f"replica-{number:04d}",
                names.SERVICE_VERSION: str(number % 3),
                names.HOST_NAME: f"node-{number % 4}",
            }
        )
        meter = MeterProvider([self._reader], resource, shutdown_on_exit=False).get_meter("benchmark")
        self._durations = [
            meter.create_histogram(each.name, each.unit, explicit_bucket_boundaries_advisory=list(each.boundaries))
            for each in (names.REQUEST_DURATION, names.QUEUE_DURATION, names.INFERENCE_DURATION)
        ]
        self._samples = meter.create_counter(names.INFERENCE_SAMPLES.name)
        self._gauges = [meter.create_gauge(f"process.gauge.{number % 5}.{index}") for index in range(12)]
        self._routes = [f"/v2/models/model-{number % 8}/{verb}" for verb in ("infer", "generate", "explain")]

    def bodies(self, num: int, first_ns: int) -> Iterator[Body]:
        """Its next requests, a second apart from `first_ns` on."""
        for second in range(num):
            self._work()
            data = self._reader.get_metrics_data()
            assert data is not None, "it has instruments"
            request = encode_metrics(data)
            num_points = _move(request, first_ns + second * 10**9)
            content = gzip.compress(request.SerializeToString(), 6)
            yield Body(path="/v1/metrics", content=content, num=num_points)

    def _work(self) -> None:
        for route in self._routes:
            for status in STATUSES:
                attributes: Attributes = {names.ROUTE: route, names.STATUS_CODE: status, names.METHOD: "POST"}
                for histogram in self._durations:
                    for value in self._rng.lognormal(-6, 1, 3):
                        histogram.record(float(value), attributes)
                self._samples.add(int(self._rng.integers(1, 50)), attributes)
        for gauge in self._gauges:
            gauge.set(float(self._rng.random()))


def spans(number: int) -> Body:
    """A request of spans as a replica makes them: a server span with a child, nine attributes in all."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({names.SERVICE_NAME: f"model-{number % 8}"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("benchmark")
    for index in range(SPANS // 2):
        attributes: Attributes = {
            names.METHOD: "POST",
            names.ROUTE: "/v2/models/{model}/infer",
            names.STATUS_CODE: STATUSES[index % 6],
            names.SCHEME: "http",
            "server.address": "127.0.0.1",
            "network.protocol.version": "1.1",
        }
        with tracer.start_as_current_span("POST /v2/models/{model}/infer", kind=SpanKind.SERVER, attributes=attributes):
            tracer.start_span("inference", attributes={"trimtab.batch.size": index % 8}).end()
    content = gzip.compress(encode_spans(exporter.get_finished_spans()).SerializeToString(), 6)
    return Body(path="/v1/traces", content=content, num=SPANS)


def _move(request: ExportMetricsServiceRequest, now_ns: int) -> int:
    """Let all points be of `now_ns`; returns how many there are."""
    num = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in getattr(metric, metric.WhichOneof("data") or "gauge").data_points:
                    point.time_unix_nano = now_ns
                    if point.start_time_unix_nano:
                        point.start_time_unix_nano = min(point.start_time_unix_nano, now_ns - 1)
                    num += 1
    return num
