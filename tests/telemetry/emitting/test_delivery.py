"""A collector that is dead, slow or hostile holds nothing up, and nothing grows."""

import threading
import time

import pytest

from telemetry import conventions
from telemetry.emitting.emitter import SHUTDOWN_S
from tests.conftest import free_port
from tests.telemetry.emitting import hostile
from tests.telemetry.emitting.sink import emitter_to, listening

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def serve(emitter, number):
    """So many requests that are all reported; the longest that reporting one took."""
    histogram, longest = emitter.histogram(conventions.REQUEST_DURATION), 0.0
    for _ in range(number):
        began = time.thread_time()
        histogram.record(0.001)
        emitter.spans.request(emitter.begin(SAMPLED), "POST /infer", start_ns=1, end_ns=2, attributes=())
        longest = max(longest, time.thread_time() - began)
    return longest


@pytest.fixture(params=["grpc", "http/protobuf"])
def protocol(request, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", request.param)
    return request.param


@pytest.mark.parametrize(
    "behaviour", [hostile.silent, hostile.garbage, hostile.endless, hostile.dripping, hostile.refusing(503)]
)
def test_a_hostile_collector_blocks_nobody_is_counted_and_shutdown_ends_in_time(protocol, behaviour, monkeypatch):
    assert SHUTDOWN_S <= 5
    monkeypatch.setattr("telemetry.emitting.emitter.SHUTDOWN_S", 0.5)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    with hostile.answering(behaviour) as port:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        emitter = emitter_to("none", interval_s=0.02)
        emitter.start()
        assert serve(emitter, 1000) < 0.1
        (queue, delivery) = emitter._destinations[0].spans
        assert queue.size <= 100
        assert emitter.spans.counts["queue_full"] + emitter.spans.counts[""] == 1000
        assert emitter.spans.counts["queue_full"] >= 500
        assert delivery.counts[""] == 0
        began = time.monotonic()
        emitter.shutdown()
        assert time.monotonic() - began < 1.5


def test_a_collector_that_hangs_holds_up_no_other(monkeypatch):
    monkeypatch.setattr("telemetry.emitting.emitter.SHUTDOWN_S", 0.5)
    with hostile.answering(hostile.silent) as port, listening() as sink:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        emitter = emitter_to(sink.endpoint, interval_s=0.02)
        emitter.start()
        serve(emitter, 10)
        while len(sink.requests) < 5 or len(sink.spans) < 10:
            time.sleep(0.01)
        emitter.shutdown()


def test_what_a_collector_refused_for_a_while_arrives_once_it_takes_again(monkeypatch):
    monkeypatch.setattr("telemetry.emitting.delivery.FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr("telemetry.emitting.delivery.LONGEST_PAUSE_S", 0.05)
    port = free_port()
    emitter = emitter_to(f"http://127.0.0.1:{port}", interval_s=0.02)
    emitter.start()
    serve(emitter, 20)
    time.sleep(0.2)
    with listening(port) as sink:
        while len(sink.spans) < 20:
            time.sleep(0.01)
        emitter.shutdown()
    assert len(sink.spans) == 20, "none is sent twice"


def test_what_may_not_be_sent_again_is_given_up_and_counted(monkeypatch):
    with hostile.answering(hostile.refusing(400)) as port:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        emitter = emitter_to("none", interval_s=0.02)
        emitter.start()
        serve(emitter, 7)
        delivery = emitter._destinations[0].spans[1]
        delivery.wake()
        while not delivery.counts["400"]:
            time.sleep(0.01)
        emitter.shutdown()
    assert delivery.counts["400"] == 7


def test_the_counts_of_what_each_collector_took_are_reported(monkeypatch):
    with listening() as sink:
        emitter = emitter_to(sink.endpoint, interval_s=0.02)
        emitter.start()
        serve(emitter, 3)
        emitter._destinations[0].spans[1].wake()

        def exported():
            metrics = [each for each in sink.metrics if each.name == "otel.sdk.exporter.span.exported"]
            points = metrics[-1].sum.data_points if metrics else ()
            return {tuple(a.value.string_value for a in point.attributes): point.as_int for point in points}

        address = sink.endpoint.removeprefix("http://")
        while exported().get((address,)) != 3:
            time.sleep(0.01)
        emitter.shutdown()


def test_no_thread_is_left_after_shutdown():
    before = set(threading.enumerate())
    with listening() as sink:
        emitter = emitter_to(sink.endpoint)
        emitter.start()
        serve(emitter, 3)
        emitter.shutdown()
        assert not [each for each in threading.enumerate() if each not in before and "telemetry" in each.name]
