"""/metrics: in both formats, by Prometheus' own parsers, and scraped by a real Prometheus."""

import contextlib
import shutil
import time

import httpx
import numpy as np
import pytest
import yaml
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from telemetry.queries.exposition import Exposition
from telemetry.queries.recorded import RecordedSeries
from telemetry.receivers.points import Scope
from telemetry.series.stream import Key
from telemetry.storage.layout import Layout
from telemetry.storage.storage import Storage
from tests.telemetry.queries.reference import serving
from tests.telemetry.running import running
from tests.telemetry.traffic import Clock

NAME = "http_server_request_duration_seconds"


def filled(now_s: float, storage: Storage | None = None, at: int = 1) -> Storage:
    it = storage or Storage(None)

    def key(metric: str, instance: str, *attributes: tuple[str, object]) -> Key:
        return Key("digits", instance, Scope(), metric, attributes)

    for instance in ("r1", "r2"):
        memory = it.series_id(key("process.memory.usage", instance, ("odd", 'a"b\\c\nd')), "gauge")
        samples = it.series_id(key("trimtab.inference.samples", instance), "counter")
        duration = it.series_id(key("http.server.request.duration", instance), "histogram")
        it.append(np.array([memory, samples]), now_s, np.array([5e6 * at, 70.0 * at]))
        layout = Layout.explicit((0.1, 1.0, 10.0))
        it.append_buckets(np.array([duration]), now_s, layout, np.array([[3, 2, 1, 0]]) * at, np.array([4.5 * at]))
    return it


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_the_latest_values_are_read_by_prometheus_own_parsers(accept):
    clock = Clock()
    text, content_type = Exposition(RecordedSeries(filled(clock.now_s), {}), clock).text(accept)
    parse = openmetrics if "openmetrics" in accept else parser
    assert content_type.startswith(accept.partition(";")[0])
    families = {family.name: family for family in parse.text_string_to_metric_families(text.decode())}
    assert {name: family.type for name, family in families.items()} == {
        "process_memory_usage_bytes": "gauge",
        "trimtab_inference_samples": "counter",
        NAME: "histogram",
    }
    assert families[NAME].documentation == "Duration of HTTP server requests."
    values = {
        (each.name, each.labels.get("le"), each.labels["instance"]): each.value for each in families[NAME].samples
    }
    assert values[f"{NAME}_bucket", "0.1", "r1"] == 3
    assert values[f"{NAME}_bucket", "+Inf", "r2"] == values[f"{NAME}_count", None, "r1"] == 6
    assert values[f"{NAME}_sum", None, "r2"] == 4.5
    (memory, _) = families["process_memory_usage_bytes"].samples
    assert memory.labels == {"job": "digits", "instance": "r1", "odd": 'a"b\\c\nd'}


def test_each_scrape_has_the_latest_and_leaves_out_what_came_long_ago():
    clock = Clock()
    storage = filled(clock.now_s)
    it = Exposition(RecordedSeries(storage, {}), clock)
    assert b" 70.0" in it.text("")[0]
    clock.now_s += 200
    filled(clock.now_s, storage, at=2)
    assert b" 140.0" in it.text("")[0]
    assert b" 70.0" not in it.text("")[0]
    clock.now_s += 200
    assert b" 140.0" in it.text("")[0]
    clock.now_s += 200
    assert it.text("")[0] == b""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")
def test_a_real_prometheus_scrapes_it_and_counts_the_same(tmp_path):
    with running() as it:
        filled(time.time(), it.collector.storage)
        scrape = {
            "job_name": "trimtab",
            "honor_labels": True,
            "metrics_path": "/telemetry/metrics",
            "scrape_interval": "1s",
            "static_configs": [{"targets": [f"127.0.0.1:{it.page_port}"]}],
        }
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
        with serving(tmp_path, f"--storage.tsdb.path={tmp_path}") as url:
            end_s = time.monotonic() + 30
            found: list[dict] = []
            while not found and time.monotonic() < end_s:
                query = {
                    "query": f'sum({NAME}_bucket{{job="digits",le="1.0"}} or {NAME}_bucket{{job="digits",le="1"}})'
                }
                with contextlib.suppress(httpx.TransportError):
                    found = httpx.get(f"{url}/api/v1/query", params=query).json()["data"]["result"]
                time.sleep(0.1)
        assert [each["value"][1] for each in found] == ["10"]
