"""The emitter, against a real OTLP/gRPC server."""

import logging
import os
import socket
import threading
import time

import numpy as np
import pytest

from telemetry import conventions
from telemetry.emitting import resources
from telemetry.emitting.emitter import SHUTDOWN_S
from tests.conftest import free_port
from tests.telemetry.emitting.sink import emitter_to, listening


@pytest.fixture
def sink():
    with listening() as kept:
        yield kept


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


def failed(emitter):
    """Data points that the emitter's collector did not take, by error."""
    return {error: count for error, count in emitter._destinations[0].totals[1].counts.items() if error != "rejected"}


def test_totals_survive_a_collector_that_was_away(caplog):
    port = free_port()
    dead = f"http://127.0.0.1:{port}"
    emitter = emitter_to(dead, interval_s=0.05)
    counter = emitter.counter(conventions.INFERENCE_SAMPLES)
    counter.add(2)
    with caplog.at_level(logging.WARNING, "telemetry.emitting.delivery"):
        emitter.start()
        while len(failed(emitter)) < 1 or max(failed(emitter).values()) < 8:
            time.sleep(0.01)
    assert [record.getMessage() for record in caplog.records] == [
        f"no OTLP collector at {dead.removeprefix('http://')} takes metrics (UNAVAILABLE); counting goes on"
    ]
    counter.add(3)
    with listening(port) as sink:
        emitter.shutdown()
        (point,) = sink.last("trimtab.inference.samples").sum.data_points
    assert point.as_double == 5 or point.as_int == 5


def test_a_collector_that_does_not_answer_is_tried_once_at_the_end():
    emitter = emitter_to(f"http://127.0.0.1:{free_port()}")
    emitter.counter(conventions.INFERENCE_SAMPLES).add(1)
    began = time.monotonic()
    emitter.shutdown()
    assert time.monotonic() - began < SHUTDOWN_S
    assert failed(emitter) == {"UNAVAILABLE": 2}, "one export of two points: the counter, and that it ends"


def test_cpu_and_memory_of_this_process_are_observed(sink):
    emitter = emitter_to(sink.endpoint)
    resources.observe(emitter)
    began = time.process_time()
    while time.process_time() - began < 0.1:
        pass
    emitter.shutdown()
    (cpu,) = sink.last("process.cpu.utilization").gauge.data_points
    usage = sink.last("process.memory.usage").sum  # the conventions make it an UpDownCounter
    (memory,) = usage.data_points
    assert not usage.is_monotonic
    assert 0 < cpu.as_double <= 1.5
    assert memory.as_int > 10 * 2**20


def test_an_observer_that_raises_is_logged_once_and_counted_and_the_rest_goes_on(sink, caplog):
    def broken():
        raise OSError("the driver is gone")

    emitter = emitter_to(sink.endpoint, interval_s=0.02)
    emitter.gauge(conventions.GPU_UTILIZATION, broken)
    emitter.gauge(conventions.PROCESS_MEMORY_USAGE, lambda: {(): "much"})
    counter = emitter.counter(conventions.INFERENCE_SAMPLES)
    emitter.start()
    for _ in range(3):
        counter.add(1)
        num_exports = len(sink.requests)
        while len(sink.requests) < num_exports + 2:
            time.sleep(0.005)
    emitter.shutdown()
    assert sink.last("trimtab.inference.samples").sum.data_points[0].as_int == 3
    failures = sink.last("trimtab.telemetry.failures").sum.data_points
    seen = {tuple(a.value.string_value for a in point.attributes): point.as_int for point in failures}
    assert seen["observing hw.gpu.utilization", "OSError"] > 3
    assert seen["observing process.memory.usage", "ValueError"] > 3
    assert [record.getMessage().partition(" failed")[0] for record in caplog.records] == [
        "observing hw.gpu.utilization",
        "observing process.memory.usage",
    ]


def test_shutdown_ends_in_time_and_raises_nothing_though_an_observer_hangs(sink, monkeypatch):
    assert SHUTDOWN_S <= 5
    monkeypatch.setattr("telemetry.emitting.emitter.SHUTDOWN_S", 0.2)
    released = threading.Event()
    emitter = emitter_to(sink.endpoint)
    emitter.gauge(conventions.GPU_UTILIZATION, lambda: {(): float(released.wait(10))})
    emitter.start()
    began = time.monotonic()
    emitter.shutdown()
    assert time.monotonic() - began < 2
    released.set()


def test_a_new_version_counts_from_zero_with_a_start_time_of_its_own(sink):
    emitter = emitter_to(sink.endpoint)
    samples, sizes = emitter.counter(conventions.INFERENCE_SAMPLES), emitter.histogram(conventions.INFERENCE_BATCH_SIZE)
    for amount in (5, 7):
        samples.add(amount)
        sizes.record(amount)
        if amount == 5:
            emitter.serves("4")
    emitter.shutdown()
    reported = {}
    for resource in sink.requests[-1].resource_metrics:
        version = {a.key: a.value.string_value for a in resource.resource.attributes}["service.version"]
        metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
        (total,) = metrics["trimtab.inference.samples"].sum.data_points
        (size,) = metrics["trimtab.inference.batch_size"].histogram.data_points
        assert size.start_time_unix_nano == total.start_time_unix_nano
        reported[version] = (total.as_int, size.count, size.sum, total.start_time_unix_nano, total.time_unix_nano)
    assert reported["3"][:3] == (5, 1, 5)
    assert reported["4"][:3] == (7, 1, 7)
    assert reported["3"][4] <= reported["4"][3]


def test_the_last_totals_of_a_version_wait_for_a_collector():
    port = free_port()
    emitter = emitter_to(f"http://127.0.0.1:{port}", interval_s=0.05)
    emitter.counter(conventions.INFERENCE_SAMPLES).add(5)
    emitter.serves("4")
    emitter.start()
    while not failed(emitter):
        time.sleep(0.01)
    with listening(port) as sink:
        emitter.shutdown()
        assert sink.last("trimtab.inference.samples").sum.data_points[0].as_int == 5


def test_a_reader_in_the_process_sees_all_versions_together():
    emitter = emitter_to("http://127.0.0.1:9")
    sizes = emitter.histogram(conventions.INFERENCE_BATCH_SIZE)
    sizes.record(2)
    emitter.serves("4")
    assert sizes.data(0, 1).data_points == []
    sizes.record(3)
    ((point,),) = [sizes.lifetime()]
    assert (point.count, point.sum, point.min, point.max) == (2, 5, 2, 3)


def test_host_and_process_are_told(sink):
    emitter = emitter_to(sink.endpoint)
    emitter.counter(conventions.INFERENCE_SAMPLES).add(1)
    emitter.shutdown()
    resource = {a.key: a.value for a in sink.requests[-1].resource_metrics[0].resource.attributes}
    assert resource["host.name"].string_value == socket.gethostname()
    assert resource["process.pid"].int_value == os.getpid()
