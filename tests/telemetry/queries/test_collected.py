"""From what a process sends, through what the collector stores of it, to an answer of the Prometheus API."""

import numpy as np
import pytest
from starlette.testclient import TestClient

from telemetry.collector import Collector
from tests.telemetry.traffic import Clock, Sender


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
