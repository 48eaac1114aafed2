"""PromQL over what storage holds."""

import math

import numpy as np
import pytest

from telemetry.queries.engine import Engine
from telemetry.queries.recorded import RecordedSeries
from telemetry.receivers.points import Scope
from telemetry.series.distribution import Buckets
from telemetry.series.stream import Key
from telemetry.storage.layout import Layout
from telemetry.storage.storage import Storage
from tests.telemetry.dashboards.test_dashboards import DASHBOARDS, GRAFANA, queries, rules

BEGIN_S = 1_800_000_000.0
END_MS = round((BEGIN_S + 600) * 1e3)
BOUNDS = (0.1, 1.0)


def key(metric: str, instance: str = "r1", **attributes: object) -> Key:
    return Key("digits", instance, Scope(), metric, tuple(sorted(attributes.items())))


@pytest.fixture
def storage():
    """Ten minutes of a gauge, a counter and histograms of both kinds, a point every ten seconds."""
    it = Storage(None)
    memory, samples = (
        it.series_id(key("process.memory.usage"), "gauge"),
        it.series_id(key("trimtab.inference.samples"), "counter"),
    )
    classic = it.series_id(key("http.server.request.duration"), "histogram")
    exponential = it.series_id(key("other.duration"), "histogram")
    for index in range(61):
        now_s = BEGIN_S + 10 * index
        it.append(np.array([memory, samples]), now_s, np.array([1e6 + index, 20.0 * index]))
        counts = np.array([[8 * index, 2 * index, 0]])
        it.append_buckets(np.array([classic]), now_s, Layout.explicit(BOUNDS), counts, np.array([1.5 * index]))
        # Scale 0: (0.5, 1], (1, 2], and from the middle on, (2, 4].
        held = {-1: 5 * index, 0: 5 * index} | ({1: index - 30} if index > 30 else {})
        buckets = Buckets(counts={each: count for each, count in held.items() if count}, total=9.0 * index, scale=0)
        layout = Layout.of(buckets)
        it.append_buckets(np.array([exponential]), now_s, layout, layout.row(buckets)[None, :], np.array([9.0 * index]))
        if index % 20 == 19:
            it.checkpoint(now_s)
            it.flush()
    yield it
    it.close()


def answers(storage: Storage, query: str, units: dict[str, str] | None = None) -> dict[str, float]:
    engine = Engine(RecordedSeries(storage, {"other.duration": "s"} if units is None else units))
    vector = engine.instant(query, END_MS).value
    return {str(dict(labels)): float(row[0]) for labels, row in zip(vector.labels, vector.values, strict=True)}


def one(storage: Storage, query: str) -> float:
    (value,) = answers(storage, query).values()
    return value


def test_a_gauge_and_a_counter_have_their_prometheus_names(storage):
    assert one(storage, 'process_memory_usage_bytes{job="digits",instance="r1"}') == 1e6 + 60
    assert one(storage, "rate(trimtab_inference_samples_total[5m])") == pytest.approx(2.0)
    assert one(storage, "increase(trimtab_inference_samples_total[10m])") == pytest.approx(1200)
    assert one(storage, '{__name__=~"process_.*"}') == 1e6 + 60
    assert answers(storage, "trimtab_inference_samples") == {}


def test_a_histogram_has_buckets_sum_and_count(storage):
    name = "http_server_request_duration_seconds"
    assert one(storage, f'{name}_bucket{{le="0.1"}}') == 480
    assert one(storage, f'{name}_bucket{{le="1"}}') == one(storage, f'{name}_bucket{{le="+Inf"}}') == 600
    assert one(storage, f"{name}_count") == 600
    assert one(storage, f"{name}_sum / {name}_count") == pytest.approx(0.15)
    assert one(storage, f"histogram_quantile(0.4, rate({name}_bucket[5m]))") == pytest.approx(0.05)
    assert answers(storage, name) == {}


def test_an_exponential_histogram_has_classic_buckets_though_they_appear_as_they_fill(storage):
    name = "other_duration_seconds"
    assert one(storage, f'{name}_bucket{{le="1"}}') == 300
    assert one(storage, f'{name}_bucket{{le="2"}}') == 600
    assert one(storage, f'{name}_bucket{{le="4"}}') == one(storage, f"{name}_count") == 630
    # 1.5 and 30 / 300 a second of what has come in the five minutes: the new bucket begins at what lay below it.
    assert one(storage, f"sum(rate({name}_count[5m]))") == pytest.approx(1.1)
    assert one(storage, f"histogram_quantile(0.25, rate({name}_bucket[5m]))") == pytest.approx(0.55)


def test_menus_list_every_name_and_label(storage):
    source = RecordedSeries(storage, {"other.duration": "s"})
    labels = [dict(each) for each in source.labels([], 0, END_MS)]
    names = {each["__name__"] for each in labels}
    assert {
        "process_memory_usage_bytes",
        "http_server_request_duration_seconds_bucket",
        "other_duration_seconds_sum",
    } <= names
    assert {each["le"] for each in labels if each["__name__"] == "http_server_request_duration_seconds_bucket"} == {
        "0.1", "1", "+Inf",
    }  # fmt: skip
    assert source.metadata()["trimtab_inference_samples_total"].type == "counter"
    assert source.metadata()["process_memory_usage_bytes"].unit == "bytes"
    assert "Samples predicted" in source.metadata()["trimtab_inference_samples_total"].help


def test_every_expression_of_the_dashboards_is_answered(storage):
    engine = Engine(RecordedSeries(storage, {}))
    asked = [query for path in DASHBOARDS for query in queries(path)]
    assert len(asked) > 20
    for query in asked:
        for variable, value in GRAFANA.items():
            query = query.replace(variable, value)
        engine.ranged(query, END_MS - 300_000, END_MS, 15_000)


def test_every_rule_is_answered(storage):
    engine = Engine(RecordedSeries(storage, {}))
    for rule in rules():
        engine.instant(rule["expr"], END_MS)


def test_nothing_is_found_where_nothing_is():
    it = Storage(None)
    assert answers(it, "nothing") == {}
    assert math.isnan(one_scalar(it, "scalar(nothing)"))
    it.close()


def one_scalar(storage: Storage, query: str) -> float:
    return float(Engine(RecordedSeries(storage, {})).instant(query, END_MS).value[0])
