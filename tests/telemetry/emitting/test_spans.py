"""Spans of requests, against a real OTLP/gRPC server."""

import threading

import pytest

from telemetry.emitting.span_bytes import link_field
from telemetry.emitting.spans import BatchSpan
from telemetry.emitting.trace import CLIENT, Child, Link
from tests.telemetry.emitting.sink import emitter_to, listening

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def sink():
    with listening() as kept:
        yield kept


def test_a_span_continues_the_clients_trace(sink):
    emitter = emitter_to(sink.endpoint, trace_ratio=0.0)
    trace = emitter.begin(PARENT, "vendor=a")
    assert trace.is_sampled
    trace.add(Child("ask detect", 4_000, 5_000, 77, CLIENT, (("trimtab.stage", "detect"),), "LostError"))
    emitter.spans.request(
        trace,
        "POST /infer",
        start_ns=1_000,
        end_ns=9_000,
        attributes=(("http.route", "/infer"), ("http.response.status_code", 500), ("x", True), ("y", 0.5)),
        error="it broke",
        children=[Child("queue", 2_000, 3_000, link=link_field(Link(8, 9)))],
    )
    emitter.shutdown()
    spans = {span.name: span for span in sink.spans}
    server, queue, asked = spans["POST /infer"], spans["queue"], spans["ask detect"]
    assert server.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert server.parent_span_id.hex() == "b7ad6b7169203331"
    assert (server.start_time_unix_nano, server.end_time_unix_nano) == (1_000, 9_000)
    assert (server.status.code, server.status.message) == (2, "it broke")
    assert (server.kind, asked.kind) == (2, 3)
    assert server.trace_state == "vendor=a"
    values = {a.key: a.value for a in server.attributes}
    assert values["http.route"].string_value == "/infer"
    assert values["http.response.status_code"].int_value == 500
    assert values["x"].bool_value is True
    assert values["y"].double_value == 0.5
    assert queue.parent_span_id == asked.parent_span_id == server.span_id
    assert asked.span_id == (77).to_bytes(8, "big")
    assert asked.status.message == "LostError"
    assert [(int.from_bytes(link.trace_id), int.from_bytes(link.span_id)) for link in queue.links] == [(8, 9)]


def test_a_trace_that_begins_here_has_no_parent(sink):
    emitter = emitter_to(sink.endpoint, trace_ratio=1.0)
    emitter.spans.request(emitter.begin(None), "GET /", start_ns=1, end_ns=2, attributes=())
    emitter.shutdown()
    (span,) = sink.spans
    assert span.parent_span_id == b""
    assert any(span.trace_id)


def test_spans_bear_the_version_that_served_when_they_ended(sink):
    emitter = emitter_to(sink.endpoint)
    for version in ("3", "4"):
        emitter.serves(version)
        emitter.spans.request(emitter.begin(PARENT), f"as {version}", start_ns=1, end_ns=2, attributes=())
    emitter.shutdown()
    assert {span.name: resource["service.version"] for span, resource in sink.span_resources} == {
        "as 3": "3",
        "as 4": "4",
    }


def test_a_call_of_the_model_links_to_the_requests_it_answered(sink):
    emitter = emitter_to(sink.endpoint)
    first, other = emitter.begin(PARENT), emitter.begin(None)
    call = BatchSpan(first.trace_id, first.own_id(), 5, 8, (("trimtab.batch.size", 2),))
    emitter.spans.batch(call)
    for each in (first, other):
        call.links.append(Link(each.trace_id, each.own_id()))
    emitter.shutdown()
    (span,) = sink.spans
    assert span.name == "batch"
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (5, 8)
    assert int.from_bytes(span.parent_span_id) == first.span_id
    assert [int.from_bytes(link.span_id) for link in span.links] == [first.span_id, other.span_id]


def test_the_client_decides_on_sampling_else_the_ratio():
    never = emitter_to("http://127.0.0.1:9", trace_ratio=0.0)
    always = emitter_to("http://127.0.0.1:9", trace_ratio=1.0)
    unsampled = f"{PARENT[:-1]}0"
    assert not never.begin(None).is_sampled
    assert always.begin(None).is_sampled
    assert not always.begin(unsampled).is_sampled


def test_what_does_not_fit_the_queue_is_dropped_and_counted(monkeypatch, sink):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    emitter = emitter_to(sink.endpoint)
    kept = [emitter.spans.request(emitter.begin(PARENT), f"{n}", start_ns=1, end_ns=2, attributes=()) for n in range(6)]
    assert kept == [True] * 4 + [False] * 2
    emitter.shutdown()
    assert sorted(span.name for span in sink.spans) == ["0", "1", "2", "3"]
    points = sink.last("otel.sdk.processor.span.processed").sum.data_points
    assert {tuple(a.value.string_value for a in point.attributes): point.as_int for point in points} == {
        (): 4,
        ("queue_full",): 2,
    }


def test_what_has_reported_nothing_has_no_thread():
    before = set(threading.enumerate())
    emitters = [emitter_to("http://127.0.0.1:9") for _ in range(10)]
    assert set(threading.enumerate()) <= before
    assert len(emitters) == 10
