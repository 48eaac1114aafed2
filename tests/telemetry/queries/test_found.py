"""Traces and logs over HTTP, from a collector that runs."""

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.telemetry.running import running
from tests.telemetry.traffic import Clock, attributes

PROTOBUF = {"content-type": "application/x-protobuf"}
TRACE = "0af7651916cd43dd8448eb211c80319c"


def spans_of(now_s: float) -> bytes:
    """A trace of three spans, one of which failed, and another trace."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(attributes(service__name="digits"))
    spans = resource.scope_spans.add().spans
    for index, (name, parent, trace) in enumerate(
        [
            ("request", "", TRACE),
            ("queue", "00" * 7 + "01", TRACE),
            ("inference", "00" * 7 + "01", TRACE),
            ("other", "", "ab" * 16),
        ]
    ):
        span = spans.add(
            trace_id=bytes.fromhex(trace),
            span_id=bytes([0] * 7 + [index + 1]),
            parent_span_id=bytes.fromhex(parent),
            name=name,
            start_time_unix_nano=int((now_s + index * 0.01) * 1e9),
            end_time_unix_nano=int((now_s + index * 0.01 + 0.1 * (index + 1)) * 1e9),
        )
        span.attributes.extend(attributes(http__route="/infer", size=3))
        if name == "inference":
            span.status.code = 2
    return request.SerializeToString()


def logs_of(now_s: float) -> bytes:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.extend(attributes(service__name="digits"))
    records = resource.scope_logs.add().log_records
    for index, (text, severity, trace) in enumerate(
        [("began", 9, TRACE), ("it FAILED", 17, TRACE), ("<b>idle", 9, "")]
    ):
        record = records.add(
            time_unix_nano=int((now_s + index) * 1e9), severity_number=severity, trace_id=bytes.fromhex(trace)
        )
        record.body.string_value = text
    return request.SerializeToString()


@pytest.fixture(scope="module")
def page():
    clock = Clock()
    with running(clock=clock) as it:
        for path, body in (("traces", spans_of(clock.now_s - 60)), ("logs", logs_of(clock.now_s - 60))):
            httpx.post(f"{it.http}/v1/{path}", content=body, headers=PROTOBUF).raise_for_status()
        yield it.page


def names(page: str, **query: object) -> list[str]:
    return [span["name"] for span in httpx.get(f"{page}/api/traces", params=query).json()["spans"]]


def texts(page: str, **query: object) -> list[str]:
    return [record["body"] for record in httpx.get(f"{page}/api/logs", params=query).json()["logs"]]


def test_spans_are_found_by_service_name_duration_failure_and_range(page):
    assert names(page, service="digits") == ["other", "inference", "queue", "request"]
    assert names(page, service="texts") == []
    assert names(page, name="queue") == ["queue"]
    assert names(page, min_duration=0.25) == ["other", "inference"]
    assert names(page, failed="true") == ["inference"]
    assert names(page, failed="false", limit=1) == ["other"]
    assert names(page, until=1.0) == []


def test_a_trace_has_all_its_spans_with_what_they_say_and_its_logs(page):
    trace = httpx.get(f"{page}/api/traces/{TRACE.upper()}").json()
    assert [span["name"] for span in trace["spans"]] == ["request", "queue", "inference"]
    assert {span["parent_id"] for span in trace["spans"][1:]} == {trace["spans"][0]["span_id"]}
    assert trace["spans"][0]["attributes"] == {"http.route": "/infer", "size": "3"}
    assert trace["spans"][2]["failed"]
    assert sorted(record["body"] for record in trace["logs"]) == ["began", "it FAILED"]
    assert httpx.get(f"{page}/api/traces/{'0' * 32}").json()["spans"] == []


def test_logs_are_found_by_service_trace_severity_text_and_range(page):
    assert texts(page, service="digits") == ["<b>idle", "it FAILED", "began"]
    assert texts(page, trace_id=TRACE) == ["it FAILED", "began"]
    assert texts(page, severity="error") == texts(page, severity=17) == texts(page, text="failed") == ["it FAILED"]
    assert texts(page, until=1.0) == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("traces/xyz", "must be 32 hexadecimal digits"),
        ("logs?trace_id=12", "must be 32 hexadecimal digits"),
        ("traces?since=noon", "since must be a number"),
        ("traces?limit=nan", "limit must be a number"),
        ("traces?failed=perhaps", "failed must be true or false"),
        ("logs?severity=loud", "severity must be one of"),
        ("logs?severity=99", "severity must be one of"),
    ],
)
def test_what_is_asked_wrongly_is_named(page, path, words):
    answer = httpx.get(f"{page}/api/{path}")
    assert answer.status_code == 400
    assert words in answer.json()["error"]
