"""From what a process sends, through what the collector stores of it, to an answer of the Prometheus API."""

import numpy as np
import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from starlette.testclient import TestClient

from telemetry.collector import Collector
from tests.telemetry.test_restart import kill, opened
from tests.telemetry.traffic import Clock, Sender, with_exemplar


def test_what_was_sent_is_answered_in_promql_and_scraped():
    clock, sender = Clock(), Sender()
    collector = Collector(clock=clock)
    for _ in range(60):
        clock.now_s += 1
        collector.receive_metrics(sender.request({200: np.full(10, 0.002)}, clock.now_s))
        collector.tick()
    client = TestClient(collector.asgi)
    asked = "/telemetry/prometheus/api/v1/query"

    def answer(query):
        (found,) = client.get(asked, params={"query": query}).json()["data"]["result"]
        return float(found["value"][1])

    assert answer("sum(rate(http_server_request_duration_seconds_count[30s]))") == pytest.approx(10.0, rel=0.05)
    median = "histogram_quantile(0.5, sum by (le) (rate(http_server_request_duration_seconds_bucket[30s])))"
    assert 0.0015 <= answer(median) <= 0.0025
    assert "http_server_request_duration_seconds_count" in client.get("/telemetry/metrics").text


def test_the_trace_of_a_slow_bucket_is_kept_and_found_over_a_restart(tmp_path):
    clock, sender = Clock(), Sender()
    collector = opened(tmp_path, clock)
    begin_s = clock.now_s
    for second in range(6):
        clock.now_s += 1
        trace = 1 + second // 3  # the SDKs repeat the last of a bucket in each report
        request = sender.request({200: np.full(10, 0.002)}, clock.now_s)
        collector.receive_metrics(with_exemplar(request, 0.3 * trace, begin_s + trace, bytes([trace]) * 16))
        collector.tick()
    kill(collector)
    durations = 'http_server_request_duration_seconds_bucket{job="digits"}'
    asked = {"start": begin_s, "end": clock.now_s}
    with TestClient(opened(tmp_path, clock).asgi) as again:
        query = f"histogram_quantile(0.99, sum by (le) (rate({durations}[1m])))"
        answer = again.get("/telemetry/prometheus/api/v1/query_exemplars", params={**asked, "query": query}).json()
        query = f"process_cpu_utilization_ratio or {durations.replace('digits', 'other')}"
        other = again.get("/telemetry/prometheus/api/v1/query_exemplars", params={**asked, "query": query}).json()
    assert answer["status"] == "success"
    found = {each["seriesLabels"]["le"]: each for each in answer["data"]}
    assert found.keys() == {"0.5", "0.75"}
    assert found["0.5"]["seriesLabels"]["__name__"] == "http_server_request_duration_seconds_bucket"
    assert found["0.5"]["seriesLabels"]["http_response_status_code"] == "200"
    assert found["0.5"]["exemplars"] == [
        {"labels": {"trace_id": "01" * 16, "span_id": "01" * 8}, "value": "0.3", "timestamp": begin_s + 1}
    ]
    assert other["data"] == []


def test_a_senders_units_and_its_resource_are_in_prometheus_names_also_after_a_restart(tmp_path):
    gauge = otlp.Metric(name="room.temperature", unit="Cel")
    clock = Clock()
    sender = Sender(service="house", extra=[gauge], resource={"deployment__environment__name": "attic"})
    collector = opened(tmp_path, clock)
    for _ in range(3):
        clock.now_s += 1
        del gauge.gauge.data_points[:]
        gauge.gauge.data_points.add(time_unix_nano=int(clock.now_s * 1e9), as_double=21.5)
        collector.receive_metrics(sender.request({}, clock.now_s))
        collector.tick()
    kill(collector)
    joined = "room_temperature_celsius * on (job, instance) group_left (deployment_environment_name) target_info"
    with TestClient(opened(tmp_path, clock).asgi) as client:
        for query in ("target_info", joined):
            asked = {"query": query, "time": clock.now_s}
            (found,) = client.get("/telemetry/prometheus/api/v1/query", params=asked).json()["data"]["result"]
            assert (found["metric"]["job"], found["metric"]["instance"]) == ("house", "replica-1")
            assert found["metric"]["deployment_environment_name"] == "attic"
    assert found["value"][1] == "21.5"
