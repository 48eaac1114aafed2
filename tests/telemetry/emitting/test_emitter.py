"""The emitter, against a real OTLP/gRPC server."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from telemetry import conventions
from telemetry.emitting import resources
from telemetry.emitting.emitter import Emitter
from tests.conftest import free_port


class Sink(metrics_service_pb2_grpc.MetricsServiceServicer, trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self):
        self.metrics = []
        self.spans = []
        self.resources = []

    def Export(self, request, context):  # noqa: N802 - gRPC's name
        if isinstance(request, metrics_service_pb2.ExportMetricsServiceRequest):
            for reported in request.resource_metrics:
                self.resources.append({a.key: a.value.string_value for a in reported.resource.attributes})
                self.metrics.extend(metric for scope in reported.scope_metrics for metric in scope.metrics)
            return metrics_service_pb2.ExportMetricsServiceResponse()
        for reported in request.resource_spans:
            self.spans.extend(span for scope in reported.scope_spans for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def last(self, name):
        return [metric for metric in self.metrics if metric.name == name][-1]


@contextmanager
def listening(port=0):
    server = grpc.server(ThreadPoolExecutor(4))
    kept = Sink()
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(kept, server)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)
    kept.endpoint = f"http://127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    yield kept
    server.stop(None)


@pytest.fixture
def sink():
    with listening() as kept:
        yield kept


def emitter_to(endpoint, **options):
    return Emitter(service="digits", version="3", role="replica", instance="r1", endpoint=endpoint, **options)


def test_a_histogram_arrives_as_numpy_counts_it(sink):
    values = np.random.default_rng(0).lognormal(-6, 2, 500)
    emitter = emitter_to(sink.endpoint)
    histogram = emitter.histogram(conventions.REQUEST_DURATION)
    for value in values:
        histogram.record(value, ((conventions.STATUS_CODE, 200),))
    emitter.shutdown()
    (point,) = sink.last("http.server.request.duration").histogram.data_points
    edges = [-np.inf, *conventions.REQUEST_DURATION.boundaries, np.inf]
    assert list(point.bucket_counts) == np.histogram(values, edges)[0].tolist()
    assert point.count == 500
    assert point.sum == pytest.approx(values.sum())
    assert (point.min, point.max) == (values.min(), values.max())
    assert {a.key: a.value.int_value for a in point.attributes} == {"http.response.status_code": 200}


def test_a_value_on_a_boundary_counts_below_it(sink):
    """OTLP: bucket i holds (boundary[i-1], boundary[i]]."""
    emitter = emitter_to(sink.endpoint)
    emitter.histogram(conventions.INFERENCE_BATCH_SIZE).record(1.0)
    emitter.shutdown()
    (point,) = sink.last("trimtab.inference.batch_size").histogram.data_points
    assert point.bucket_counts[0] == 1


def test_the_resource_says_who_reports(sink):
    emitter = emitter_to(sink.endpoint)
    emitter.counter(conventions.INFERENCE_SAMPLES).add(1)
    emitter.shutdown()
    resource = sink.resources[-1]
    assert resource["service.name"] == "digits"
    assert resource["service.version"] == "3"
    assert resource["service.instance.id"] == "r1"
    assert resource["trimtab.role"] == "replica"


def test_totals_survive_a_collector_that_was_away(caplog):
    port = free_port()
    dead = f"http://127.0.0.1:{port}"
    emitter = emitter_to(dead)
    counter = emitter.counter(conventions.INFERENCE_SAMPLES)
    counter.add(2)
    with caplog.at_level(logging.WARNING, "telemetry.emitting.emitter"):
        emitter._exporter._timeout = 0.2
        emitter._export()
        emitter._export()
    assert [record.getMessage() for record in caplog.records] == [
        f"no OTLP collector answers at {dead.removeprefix('http://')}; counting goes on"
    ]
    counter.add(3)
    with listening(port) as sink:
        emitter.shutdown()
        (point,) = sink.last("trimtab.inference.samples").sum.data_points
    assert point.as_double == 5 or point.as_int == 5


def test_a_collector_that_has_never_answered_is_tried_once_at_the_end(caplog):
    emitter = emitter_to(f"http://127.0.0.1:{free_port()}")
    with caplog.at_level(logging.WARNING, "opentelemetry.exporter.otlp.proto.grpc.exporter"):
        emitter._export()
        assert "retrying" in caplog.text, "the claim is about something"
        caplog.clear()
        emitter.shutdown()
    assert "retrying" not in caplog.text


def test_a_span_continues_the_clients_trace(sink):
    emitter = emitter_to(sink.endpoint, trace_ratio=0.0)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert emitter.sampled(parent)
    emitter.span(
        "POST /infer",
        start_ns=1_000,
        end_ns=9_000,
        traceparent=parent,
        attributes={"http.route": "/infer"},
        error="it broke",
        children=[("queue", 2_000, 3_000)],
    )
    emitter.shutdown()
    spans = {span.name: span for span in sink.spans}
    server, queue = spans["POST /infer"], spans["queue"]
    assert server.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert server.parent_span_id.hex() == "b7ad6b7169203331"
    assert (server.start_time_unix_nano, server.end_time_unix_nano) == (1_000, 9_000)
    assert server.status.message == "it broke"
    assert queue.parent_span_id == server.span_id


def test_the_client_decides_on_sampling_else_the_ratio():
    never = emitter_to("http://127.0.0.1:9", trace_ratio=0.0)
    always = emitter_to("http://127.0.0.1:9", trace_ratio=1.0)
    unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    assert not never.sampled(None)
    assert always.sampled(None)
    assert not always.sampled(unsampled)


def test_cpu_and_memory_of_this_process_are_observed(sink):
    emitter = emitter_to(sink.endpoint)
    resources.observe(emitter)
    began = time.monotonic()
    while time.monotonic() - began < 0.3:
        pass
    emitter.shutdown()
    (cpu,) = sink.last("process.cpu.utilization").gauge.data_points
    usage = sink.last("process.memory.usage").sum  # the conventions make it an UpDownCounter
    (memory,) = usage.data_points
    assert not usage.is_monotonic
    assert 0.05 < cpu.as_double <= 1.5
    assert memory.as_int > 10 * 2**20
