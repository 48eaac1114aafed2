"""OTLP by gRPC and by HTTP, from the real SDK and by hand, with everything that can be wrong with a request."""

import base64
import gzip
import json
import time

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.telemetry.running import running
from tests.telemetry.traffic import Sender, attributes

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
LIMIT = 200_000


@pytest.fixture(scope="module")
def collector():
    with running(max_body_bytes=LIMIT, max_series=500) as it:
        yield it


def resource(service):
    return Resource.create({"service.name": service, "service.instance.id": "a"})


def metrics(service, value=0.25):
    request = Sender(service=service).request({}, time.time())
    request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].as_double = value
    return request


def cpu(collector, service):
    """The gauge's values, once what was received is settled."""
    until_s = time.monotonic() + 10
    while not (found := collector.collector.services[service].values("process.cpu.utilization", time.time())):
        assert time.monotonic() < until_s, "nothing was settled"
        time.sleep(0.01)
    return [value for _, _, value in found]


def post(collector, path="/v1/metrics", content=b"", headers=PROTOBUF):
    return httpx.post(collector.http + path, content=content, headers=headers)


@pytest.mark.parametrize("temporality", list(AggregationTemporality)[1:], ids=["delta", "cumulative"])
@pytest.mark.parametrize("exponential", [False, True], ids=["explicit", "exponential"])
@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip], ids=["plain", "gzip"])
def test_the_sdk_is_understood_by_grpc(collector, temporality, exponential, compression):
    service = f"sdk-{temporality.name}-{exponential}-{compression}"
    exporter = OTLPMetricExporter(
        endpoint=collector.grpc,
        compression=compression,
        preferred_temporality={Counter: temporality, Histogram: temporality},
    )
    views = [View(instrument_name="*", aggregation=ExponentialBucketHistogramAggregation())] if exponential else []
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource(service), views=views, shutdown_on_exit=False)
    histogram = provider.get_meter("test").create_histogram(
        "http.server.request.duration", "s", explicit_bucket_boundaries_advisory=[0.001, 0.01, 0.02, 0.1]
    )
    flushed = []
    for _ in range(3):
        for milliseconds in range(1, 101):
            histogram.record(milliseconds / 1000 * 0.2, {"http.response.status_code": 200})
        time.sleep(0.6)
        assert provider.force_flush()
        flushed.append(time.monotonic())
    provider.shutdown()
    history = collector.collector.services[service].history
    assert history["latency_p50"].values[-1] == pytest.approx(0.010, rel=0.1)
    # Read wrongly, cumulative counts would be a third or three times as many; the collector's clock may lag behind.
    assert history["throughput"].values[-1] == pytest.approx(100 / (flushed[-1] - flushed[-2]), rel=0.25)


def test_spans_of_the_sdk_are_kept_once(collector):
    provider = TracerProvider(resource=resource("traced"), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=collector.grpc)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("parent") as parent, tracer.start_as_current_span("child"):
        pass
    exporter.export([parent])
    (span,) = collector.collector.spans.latest("traced")
    assert (span.name, span.trace_id) == ("parent", format(parent.context.trace_id, "032x"))
    provider.shutdown()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON], ids=["protobuf", "json"])
def test_http_takes_protobuf_and_json_plain_and_gzip(collector, compressed, content_type):
    service = f"http-{compressed}-{content_type['content-type']}"
    request = metrics(service)
    body = request.SerializeToString() if content_type is PROTOBUF else json_format.MessageToJson(request).encode()
    headers = {**content_type, **({"content-encoding": "gzip"} if compressed else {})}
    answer = post(collector, content=gzip.compress(body) if compressed else body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == content_type["content-type"]
    assert answer.content in (b"", b"{}")
    assert cpu(collector, service) == [0.25]


def test_json_ids_are_hex_and_integers_may_be_text(collector):
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "name": "by hand",
        "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": 1700000000250000000,
        "someFieldOfTomorrow": {"traceId": 1},
    }
    name = {"key": "service.name", "value": {"stringValue": "hex"}}
    document = {"resourceSpans": [{"resource": {"attributes": [name]}, "scopeSpans": [{"spans": [span]}]}]}
    assert post(collector, "/v1/traces", json.dumps(document).encode(), JSON).status_code == 200
    (kept,) = collector.collector.spans.latest("hex")
    assert (kept.trace_id, kept.span_id) == (span["traceId"], span["spanId"])
    assert kept.duration_s == pytest.approx(0.25)


def test_logs_are_accepted(collector):
    assert post(collector, "/v1/logs").status_code == 200
    assert post(collector, "/v1/logs", b'{"resourceLogs": []}', JSON).json() == {}


BAD = {
    "no protobuf": (b"\xff\xff\xff", PROTOBUF, 400, "the body must be an ExportMetricsServiceRequest"),
    "no json": (b"{", JSON, 400, "unexpected end of data"),
    "no object": (b"[]", JSON, 400, "must be a JSON object, got list"),
    "wrong field": (b'{"resourceMetrics": 5}', JSON, 400, "resourceMetrics"),
    "deep": (b"[" * 900 + b"]" * 900, JSON, 400, "must be"),
    "deep object": (b'{"a":' * 900 + b"1" + b"}" * 900, JSON, 400, "must not be nested"),
    "no gzip": (b"abc", {**PROTOBUF, "content-encoding": "gzip"}, 400, "the body must be gzip"),
    "half a gzip": (gzip.compress(b"a" * 99)[:-9], {**JSON, "content-encoding": "gzip"}, 400, "must be complete"),
    "unknown encoding": (b"", {**PROTOBUF, "content-encoding": "br"}, 415, "got 'br'"),
    "unknown type": (b"", {"content-type": "text/plain"}, 415, "got 'text/plain'"),
    "too large": (b"a" * (LIMIT + 1), PROTOBUF, 413, f"must not exceed {LIMIT} bytes"),
    "zip bomb": (gzip.compress(bytes(10**8)), {**PROTOBUF, "content-encoding": "gzip"}, 413, "must not exceed"),
}


@pytest.mark.parametrize(("body", "headers", "status_code", "message"), BAD.values(), ids=list(BAD))
def test_a_bad_request_is_refused_by_name_and_the_service_goes_on(collector, body, headers, status_code, message):
    answer = post(collector, content=body, headers=headers)
    assert answer.status_code == status_code
    if headers["content-type"] == PROTOBUF["content-type"]:
        assert answer.headers["content-type"] == PROTOBUF["content-type"]
        said = Status.FromString(answer.content).message
    else:
        said = answer.json()["message"]
    assert message in said
    assert post(collector, content=metrics("after").SerializeToString()).status_code == 200


def test_json_spans_without_hex_are_refused(collector):
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "not hex"}]}]}]}
    answer = post(collector, "/v1/traces", json.dumps(document).encode(), JSON)
    assert answer.status_code == 400
    assert "traceId must be hexadecimal, got 'not hex'" in answer.json()["message"]


def test_refused_points_are_partial_success(collector):
    request = metrics("partial", float("nan"))
    request.MergeFrom(metrics("partial", 0.5))
    answer = post(collector, content=request.SerializeToString())
    partial = ExportMetricsServiceResponse.FromString(answer.content).partial_success
    assert answer.status_code == 200
    assert partial.rejected_data_points == 1
    assert "values must be finite, got nan" in partial.error_message
    assert cpu(collector, "partial") == [0.5]


def test_spans_without_proper_ids_are_partial_success(collector):
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"short", span_id=b"12345678")
    answer = post(collector, "/v1/traces", json_format.MessageToJson(request).encode(), JSON)
    # MessageToJson writes ids in base64, which is not hex: OTLP/JSON refuses it as a whole.
    assert answer.status_code == 400
    answer = post(collector, "/v1/traces", request.SerializeToString())
    assert b"trace_id must have 16 bytes" in answer.content


def test_too_many_series_are_partial_success_by_grpc_too():
    with running(max_series=5) as it, grpc.insecure_channel(it.grpc.removeprefix("http://")) as channel:
        request = metrics("many")
        points = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
        for user in range(10):
            points.add(as_int=1, time_unix_nano=time.time_ns(), attributes=attributes(user=f"u{user}"))
        partial = MetricsServiceStub(channel).Export(request).partial_success
        assert partial.rejected_data_points == 6
        assert "max_series must not exceed 5" in partial.error_message
        assert httpx.get(f"{it.page}/api/services").json()["num_refused"] == 6


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_grpc_refuses_what_is_too_large_also_when_compressed(collector, compression):
    request = metrics("large")
    request.resource_metrics[0].schema_url = "a" * (LIMIT + 1)
    with grpc.insecure_channel(collector.grpc.removeprefix("http://")) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            MetricsServiceStub(channel).Export(request, compression=compression)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert MetricsServiceStub(channel).Export(metrics("after-large")) == ExportMetricsServiceResponse()


def test_grpc_says_that_a_body_is_no_protobuf(collector):
    with grpc.insecure_channel(collector.grpc.removeprefix("http://")) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export")
        with pytest.raises(grpc.RpcError) as caught:
            export(b"\xff\xff\xff")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert ExportMetricsServiceRequest.DESCRIPTOR.name in caught.value.details()


def test_hex_is_not_base64():
    """The test above would pass by accident if both readings of an id were the same."""
    assert base64.b64decode("eee19b7ec3c1b174") != bytes.fromhex("eee19b7ec3c1b174")
