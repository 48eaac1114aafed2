"""OpenTelemetry's variables: each means what its documentation says.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

import logging

import pytest

from telemetry.emitting import environment
from telemetry.emitting.endpoint import collector, endpoint_of


def read(**variables):
    return environment.read(variables, interval_s=1.0)


@pytest.mark.parametrize(("given", "disabled"), [("true", True), ("TRUE", True), ("false", False), ("1", False)])
def test_otel_sdk_disabled(given, disabled):
    assert read(OTEL_SDK_DISABLED=given).is_disabled is disabled


@pytest.mark.parametrize("signal", ["METRICS", "TRACES", "LOGS"])
def test_otel_exporter_chooses_where_a_signal_goes_beside_the_collector(signal):
    name, found = f"OTEL_{signal}_EXPORTER", {}
    for given in ("otlp", "console", "none", ""):
        found[given] = read(**{name: given}).exporters[signal.lower()]
    assert found == {"otlp": "otlp", "console": "console", "none": "none", "": "none"}
    assert read(OTEL_EXPORTER_OTLP_ENDPOINT="http://h").exporters[signal.lower()] == "otlp"
    assert read(**{f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT": "http://h"}).exporters[signal.lower()] == "otlp"


@pytest.mark.parametrize("prefix", ["OTEL_BSP", "OTEL_BLRP"])
def test_queues_of_spans_and_logs(prefix):
    found = read(
        **{
            f"{prefix}_SCHEDULE_DELAY": "2500",
            f"{prefix}_EXPORT_TIMEOUT": "4000",
            f"{prefix}_MAX_QUEUE_SIZE": "100",
            f"{prefix}_MAX_EXPORT_BATCH_SIZE": "500",
        }
    )
    queueing = found.spans if prefix == "OTEL_BSP" else found.logs
    assert (queueing.delay_s, queueing.timeout_s, queueing.max_size) == (2.5, 4.0, 100)
    assert queueing.max_batch == 100, "it must be at most the queue's size"


def test_intervals_and_timeouts_of_metrics_are_in_milliseconds():
    found = read(OTEL_METRIC_EXPORT_INTERVAL="60000", OTEL_METRIC_EXPORT_TIMEOUT="500")
    assert (found.metric_interval_s, found.metric_timeout_s) == (60.0, 0.5)


@pytest.mark.parametrize("given", ["always_on", "always_off", "trace_based"])
def test_otel_metrics_exemplar_filter(given):
    assert read(OTEL_METRICS_EXEMPLAR_FILTER=given).exemplars == given


def test_limits_of_spans_go_before_the_general_ones():
    found = read(
        OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="9",
        OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT="3",
        OTEL_ATTRIBUTE_COUNT_LIMIT="2",
        OTEL_SPAN_LINK_COUNT_LIMIT="5",
        OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT="7",
    )
    assert found.span_limits.of((("a", "abcdef"), ("b", 12345), ("c", 1))) == (("a", "abc"), ("b", 12345))
    assert found.span_limits.num_links == 5
    assert (found.log_limits.value_length, found.log_limits.num_attributes) == (9, 7)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "nan"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "some"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"),
    ],
)
def test_what_a_variable_cannot_mean_is_said_and_the_default_stays(name, given, caplog):
    with caplog.at_level(logging.WARNING):
        assert read(**{name: given}) == read()
    assert name in caplog.text


@pytest.mark.parametrize("signal", ["metrics", "traces", "logs"])
def test_the_general_endpoint_gets_the_signals_path_by_http_and_its_own_form_is_taken_as_it_is(signal):
    protocol = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    assert endpoint_of(signal, protocol).url == f"http://localhost:4318/v1/{signal}"
    general = protocol | {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://h:1/base/"}
    assert endpoint_of(signal, general).url == f"https://h:1/base/v1/{signal}"
    own = general | {f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT": "https://other/path"}
    assert endpoint_of(signal, own).url == "https://other/path"
    assert endpoint_of(signal, {}).url == "http://localhost:4317"


@pytest.mark.parametrize(
    ("name", "given", "field", "value"),
    [
        ("PROTOCOL", "http/protobuf", "protocol", "http/protobuf"),
        ("HEADERS", "api-key=a%20b,X-Tenant=c", "headers", (("api-key", "a b"), ("x-tenant", "c"))),
        ("TIMEOUT", "2500", "timeout_s", 2.5),
        ("COMPRESSION", "gzip", "compression", "gzip"),
        ("CERTIFICATE", "/ca.pem", "certificate", "/ca.pem"),
        ("CLIENT_KEY", "/key.pem", "client_key", "/key.pem"),
        ("CLIENT_CERTIFICATE", "/cert.pem", "client_certificate", "/cert.pem"),
        ("INSECURE", "true", "insecure", True),
    ],
)
def test_each_setting_of_the_exporter_has_a_form_for_each_signal_that_goes_before_the_general_one(
    name, given, field, value
):
    assert getattr(endpoint_of("traces", {f"OTEL_EXPORTER_OTLP_{name}": given}), field) == value
    both = {f"OTEL_EXPORTER_OTLP_TRACES_{name}": given, f"OTEL_EXPORTER_OTLP_{name}": "x"}
    assert getattr(endpoint_of("traces", both), field) == value
    assert getattr(endpoint_of("metrics", {f"OTEL_EXPORTER_OTLP_TRACES_{name}": given}), field) == getattr(
        endpoint_of("metrics", {}), field
    )


@pytest.mark.parametrize(
    ("variables", "secure"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://h:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "h:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "h:4317", "OTEL_EXPORTER_OTLP_INSECURE": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317", "OTEL_EXPORTER_OTLP_INSECURE": "false"}, False),
    ],
)
def test_the_scheme_decides_on_tls_else_the_variable(variables, secure):
    endpoint = endpoint_of("traces", variables)
    assert endpoint.is_secure is secure
    assert endpoint.target == "h:4317"


def test_headers_for_others_do_not_go_to_trimtabs_collector():
    variables = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret", "TRIMTAB_COLLECTOR_TOKEN": "ours"}
    assert collector("http://head:4317", variables).headers == (("authorization", "Bearer ours"),)
    assert endpoint_of("traces", variables).headers == (("api-key", "secret"),)
