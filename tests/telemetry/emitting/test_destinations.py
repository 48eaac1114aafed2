"""To whom a process reports: Trimtab's collector and OpenTelemetry's endpoint, each on its own."""

import time

import pytest

from telemetry import conventions
from telemetry.emitting.destinations import HEARTBEAT_S
from tests.conftest import free_port
from tests.telemetry.emitting.sink import emitter_to, listening


@pytest.fixture
def ours():
    with listening() as kept:
        yield kept


@pytest.fixture
def theirs():
    with listening() as kept:
        yield kept


def report(emitter):
    emitter.counter(conventions.INFERENCE_SAMPLES).add(3)
    emitter.spans.request(emitter.begin(None), "GET /", start_ns=1, end_ns=2, attributes=())
    emitter.shutdown()


def test_the_variables_endpoint_gets_the_same_as_trimtabs_collector(ours, theirs, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", theirs.endpoint)
    report(emitter_to(ours.endpoint))
    for sink in (ours, theirs):
        assert sink.last("trimtab.inference.samples").sum.data_points[0].as_int == 3
        assert len(sink.spans) == 1


def test_a_collector_that_is_named_twice_gets_everything_once(ours, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", ours.endpoint.replace("127.0.0.1", "localhost"))
    report(emitter_to(ours.endpoint))
    assert len(ours.spans) == 1
    assert len(ours.requests) == 1


def test_a_signal_that_is_switched_off_goes_to_trimtabs_collector_alone(ours, theirs, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", theirs.endpoint)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    report(emitter_to(ours.endpoint))
    assert len(ours.spans) == 1
    assert theirs.spans == []
    assert theirs.last("trimtab.inference.samples").sum.data_points[0].as_int == 3


def test_signals_may_go_to_several(ours, theirs, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", theirs.endpoint)
    report(emitter_to("none"))
    assert len(theirs.spans) == 1
    assert theirs.requests == []


def test_console_writes_what_is_reported(capfd, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    report(emitter_to("none"))
    assert 'name: "GET /"' in capfd.readouterr().out


def test_a_process_that_is_told_to_reports_nothing_and_counts_for_itself(ours, monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    emitter = emitter_to(ours.endpoint)
    emitter.start()
    emitter.histogram(conventions.INFERENCE_BATCH_SIZE).record(4)
    report(emitter)
    assert (ours.requests, ours.spans) == ([], [])
    assert emitter.histogram(conventions.INFERENCE_BATCH_SIZE).lifetime()[0].count == 1


def test_resource_attributes_of_the_variables_are_borne_and_what_trimtab_knows_goes_before(ours, monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,service.version=wrong")
    report(emitter_to(ours.endpoint))
    assert ours.resources[-1]["deployment.environment.name"] == "prod"
    assert ours.resources[-1]["service.version"] == "3"


def test_the_interval_of_the_variables_is_that_of_their_endpoint_alone(ours, theirs, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", theirs.endpoint)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "60000")
    emitter = emitter_to(ours.endpoint, interval_s=0.02)
    emitter.counter(conventions.INFERENCE_SAMPLES).add(1)
    emitter.start()
    while len(ours.requests) < 10:
        time.sleep(0.005)
    assert len(theirs.requests) <= 1
    emitter.shutdown()


def test_what_does_not_change_is_sent_when_it_does_and_now_and_then(ours):
    assert HEARTBEAT_S <= 60
    emitter = emitter_to(ours.endpoint, interval_s=0.02)
    gauge = emitter.gauge(conventions.ARTIFACT_SIZE)
    gauge.set(5)
    emitter.start()

    def exports(number):
        number += len(ours.requests)
        while len(ours.requests) < number:
            time.sleep(0.005)

    exports(8)
    assert 1 <= len(sizes(ours)) <= 3
    gauge.set(6)
    exports(4)
    assert sizes(ours)[-1] == 6
    before = len(sizes(ours))
    emitter._destinations[0]._full_s -= HEARTBEAT_S
    exports(4)
    assert len(sizes(ours)) > before
    emitter.shutdown()


def test_what_a_collector_missed_is_sent_again_once_it_is_back():
    port = free_port()
    emitter = emitter_to(f"http://127.0.0.1:{port}", interval_s=0.02)
    emitter.gauge(conventions.ARTIFACT_SIZE).set(5)
    emitter.start()
    time.sleep(0.1)
    with listening(port) as sink:
        while not sizes(sink):
            time.sleep(0.01)
        emitter.shutdown()


def sizes(sink):
    """What was reported of an artifact's size."""
    return [metric.gauge.data_points[0].as_int for metric in sink.metrics if metric.name == "trimtab.artifact.size"]
