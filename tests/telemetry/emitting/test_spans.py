"""Spans and who decides on them, against a real OTLP/gRPC server."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry.emitting.spans import is_sampled
from tests.telemetry.emitting.sink import emitter_to, listening

IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


@pytest.fixture
def sink():
    with listening() as kept:
        yield kept


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


@pytest.mark.parametrize(
    ("traceparent", "decision"),
    [
        (f"00-{IDS}-01", True),
        (f"00-{IDS}-03", True),  # sampled and random: trace-context level 2
        (f"00-{IDS}-ff", True),
        (f"00-{IDS}-00", False),
        (f"00-{IDS}-02", False),
        (f"cc-{IDS}-01", True),  # a version of tomorrow is read as version 00, as far as that goes
        (f"cc-{IDS}-01-what-the-future-will-be-like", True),
        (f"cc-{IDS}-02-01", False),
        (f" 00-{IDS}-01\t", True),
    ],
)
def test_the_last_bit_of_the_flags_decides(traceparent, decision):
    for ratio in (0.0, 1.0):
        assert is_sampled(traceparent, ratio) is decision


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "01",
        f"ff-{IDS}-01",
        f"00-{IDS}-01-more",
        f"cc-{IDS}-01.what",
        f"00-{IDS.upper()}-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        f"00-{IDS}-0g",
        f"{IDS}-01",
    ],
)
def test_what_is_no_traceparent_decides_nothing(traceparent):
    assert not is_sampled(traceparent, 0.0)
    assert is_sampled(traceparent, 1.0)


headers = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=70)
pieces = st.sampled_from(["00", "01", "ff", IDS, IDS.upper(), "0" * 32, "0" * 16, "-", " ", "03", "more"])


@given(headers | st.lists(pieces, max_size=9).map("".join) | st.lists(pieces, max_size=6).map("-".join))
def test_any_text_is_read_as_opentelemetry_reads_it(text):
    span = trace.get_current_span(TraceContextTextMapPropagator().extract({"traceparent": text}, trace.Context()))
    caller = span.get_span_context()
    for ratio in (0.0, 1.0):
        assert is_sampled(text, ratio) is (caller.trace_flags.sampled if caller.is_valid else ratio == 1.0)


@given(st.integers(0, 254), st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_any_well_formed_traceparent_decides_by_its_last_bit(version, trace_id, span_id, flags):
    assert is_sampled(f"{version:02x}-{trace_id:032x}-{span_id:016x}-{flags:02x}", 0.0) is bool(flags & 1)


def test_what_has_reported_nothing_has_no_thread():
    before = set(threading.enumerate())
    emitters = [emitter_to("http://127.0.0.1:9") for _ in range(10)]
    assert set(threading.enumerate()) <= before
    assert len(emitters) == 10
