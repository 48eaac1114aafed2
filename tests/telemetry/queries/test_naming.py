"""Names by the OpenTelemetry-to-Prometheus rules."""

import pytest

from telemetry.queries.labels import NAME
from telemetry.queries.naming import label_name, labels_for, metric_name
from telemetry.receivers.points import Scope
from telemetry.series.stream import Key


@pytest.mark.parametrize(
    ("metric", "unit", "kind", "name"),
    [
        ("http.server.request.duration", "s", "histogram", "http_server_request_duration_seconds"),
        ("http.server.request.duration", "ms", "histogram", "http_server_request_duration_seconds"),
        ("process.memory.usage", "By", "gauge", "process_memory_usage_bytes"),
        ("process.cpu.utilization", "1", "gauge", "process_cpu_utilization_ratio"),
        ("trimtab.inference.samples", "{sample}", "counter", "trimtab_inference_samples_total"),
        ("network.io", "By/s", "gauge", "network_io_bytes_per_second"),
        ("requests.total", "", "counter", "requests_total"),
        ("work_seconds", "s", "counter", "work_seconds_total"),
        ("cpu", "1", "counter", "cpu_total"),
        ("3d.engine", "", "gauge", "_3d_engine"),
        ("a..b--c", "", "gauge", "a_b_c"),
        ("größe", "", "gauge", "gr_e"),
        ("", "", "gauge", "_"),
        ("latency", "{odd}/{pair}", "gauge", "latency"),
        ("speed", "furlong/fortnight", "gauge", "speed_furlong_per_fortnight"),
    ],
)
def test_metrics_are_named_by_the_rules(metric, unit, kind, name):
    assert metric_name(metric, unit, kind) == name


def test_labels_are_attributes_with_job_instance_and_scope():
    key = Key(
        "digits",
        "replica-1",
        Scope("meter", "2"),
        "cpu",
        (("9lives", 9), ("a.b", "x"), ("a_b", "y"), ("empty", ""), ("is.on", True), ("share", 0.5)),
    )
    assert dict(labels_for(key, "cpu_ratio")) == {
        NAME: "cpu_ratio",
        "a_b": "x;y",
        "is_on": "true",
        "share": "0.5",
        "key_9lives": "9",
        "job": "digits",
        "instance": "replica-1",
        "otel_scope_name": "meter",
        "otel_scope_version": "2",
    }
    assert label_name("http.route") == "http_route"
