"""From a replica's counts, by OTLP, to an alert and to the page: everything between is real."""

import numpy as np
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import export as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from starlette.testclient import TestClient

from telemetry import conventions as names
from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.drift import history
from telemetry.emitting.bin_counts import BinCounts

EDGES = tuple(float(edge) for edge in range(9))
USUAL, MOVED = np.full(10, 0.1), np.array([0.0] * 7 + [0.2, 0.4, 0.4])
BEGAN_S = 1_800_000_000.0


class Replica:
    """Counts rows, and reports its totals once a second."""

    def __init__(self, name: str) -> None:
        self.counts = BinCounts(names.DRIFT_ROWS)
        self.resource = Resource({names.SERVICE_NAME: "m", names.SERVICE_INSTANCE_ID: name, names.SERVICE_VERSION: "1"})

    def count(self, rows) -> None:
        self.counts.add(
            EDGES,
            rows.tolist(),
            (
                (names.MODEL_VERSION, "1"),
                (names.WATCHED, "x[0]"),
                (names.WATCHED_KIND, "levels"),
                (names.REFERENCE_COUNTS, ",".join(["100"] * 10)),
            ),
        )

    def report(self, now_s: float):
        data = self.counts.data(int(BEGAN_S * 1e9), int(now_s * 1e9))
        metric = otel.Metric(names.DRIFT_ROWS.name, "", "{row}", data)
        scope = otel.ScopeMetrics(InstrumentationScope("trimtab"), [metric], "")
        return encode_metrics(otel.MetricsData([otel.ResourceMetrics(self.resource, [scope], "")]))


class Cluster:
    """Two replicas, a collector, and time."""

    def __init__(self) -> None:
        self.now_s, self.random = BEGAN_S, np.random.default_rng(0)
        self.collector = Collector(CollectorConfig(grpc_port=0, http_port=0), clock=lambda: self.now_s)
        self.replicas = [Replica("r1"), Replica("r2")]

    def serve(self, seconds: int, shares) -> None:
        for _ in range(seconds):
            self.now_s += 1.0
            for replica in self.replicas:
                replica.count(self.random.multinomial(10, shares))
                self.collector.receive_metrics(replica.report(self.now_s))
            self.collector.tick()

    def firing(self):
        return [(alert.service, alert.signal) for alert in self.collector.alerts.firing()]


def test_rows_of_two_replicas_that_move_raise_one_alert_that_ends_when_they_return():
    cluster = Cluster()
    cluster.serve(60, USUAL)
    assert cluster.firing() == []
    cluster.serve(10, MOVED)
    assert cluster.firing() == [("m", "drift")]
    (alert,) = cluster.collector.alerts.firing()
    assert "x[0] has drifted" in alert.sentence
    cluster.serve(60, USUAL)
    assert cluster.firing() == []


def test_the_page_is_told_what_has_drifted_and_of_a_model_without_a_reference_that_nothing_is_watched():
    cluster = Cluster()
    cluster.serve(20, MOVED)
    client = TestClient(cluster.collector.asgi)
    told = client.get("/api/drift/m").json()
    assert told["watched"]
    ((distribution,),) = (version["distributions"] for version in told["versions"])
    assert distribution["is_drifted"]
    assert distribution["name"] == "x[0]"
    assert 300 <= distribution["rows"] <= 400
    assert distribution["reference"] == [100] * 10
    unknown = client.get("/api/drift/nobody").json()
    assert not unknown["watched"]
    assert unknown["why"].startswith("the artifact has no reference")


def test_what_was_collected_can_be_reported_of_later():
    cluster = Cluster()
    cluster.serve(60, MOVED)
    found = history.read(cluster.collector.storage, "m", BEGAN_S, cluster.now_s)
    assert sum(int(each.total.sum()) for each in found.counted) > 1000
