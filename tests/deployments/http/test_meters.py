"""What is reported of a request."""

import asyncio

import pytest

from deployments.execution.prediction import BatchDone, Prediction
from deployments.http.meters import RequestMeter, scheme_of
from telemetry import conventions
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.sampling import NUM_LEARNT
from tests.telemetry.emitting.sink import emitter_to, listening

SAMPLED = ((b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)


@pytest.fixture
def sink():
    with listening() as kept:
        yield kept


def meter_of(endpoint="http://127.0.0.1:9", version=None, **options):
    emitter = emitter_to(endpoint, **{"trace_ratio": 0.0, **options})
    return emitter, RequestMeter(emitter, version)


def request(meter, seconds=0.001, headers=(), status=200, **given):
    usual = {"method": "POST", "route": "/infer", "start_ns": 10**9, "end_ns": 10**9 + round(seconds * 1e9)}
    meter.request(**usual, status=status, trace=meter.begin({"headers": headers}), **given)


@pytest.mark.parametrize(
    ("scheme", "forwarded", "reported"),
    [
        ("http", None, "http"),
        ("http", b"https", "https"),  # the ingress ended TLS
        ("https", None, "https"),
        ("http", b"gopher", "http"),  # a client's own words make no series
    ],
)
def test_the_scheme_is_the_clients(scheme, forwarded, reported):
    emitter, meter = meter_of()
    headers = [(b"host", b"m")] + ([(b"x-forwarded-proto", forwarded)] if forwarded else [])
    request(meter, scheme=scheme_of({"scheme": scheme, "headers": headers}))
    (point,) = emitter.histogram(conventions.REQUEST_DURATION).data(0, 1).data_points
    assert point.attributes["url.scheme"] == reported


def test_two_versions_in_one_process_are_told_apart(sink):
    emitter = emitter_to(sink.endpoint)
    for version, number in (("3", 2), ("4", 5)):
        meter = RequestMeter(emitter, version)
        for _ in range(number):
            request(meter)
    emitter.shutdown()
    points = sink.last("http.server.request.duration").histogram.data_points
    counts = {
        a.value.string_value: point.count
        for point in points
        for a in point.attributes
        if a.key == "trimtab.model.version"
    }
    assert counts == {"3": 2, "4": 5}


def test_errors_are_counted_by_type():
    emitter, meter = meter_of(version="3")
    request(meter, status=429, error_type="OverloadedError")
    request(meter, status=503, error_type="UnavailableError")
    request(meter)
    totals = emitter.counter(conventions.REQUEST_ERRORS)._totals
    version = ("trimtab.model.version", "3")
    assert totals == {
        (version, ("error.type", "OverloadedError")): 1,
        (version, ("error.type", "UnavailableError")): 1,
    }


def test_a_request_that_fails_or_is_slow_is_kept_though_nobody_sampled_it(sink):
    emitter, meter = meter_of(sink.endpoint)
    for _ in range(NUM_LEARNT + 1):
        request(meter)
    request(meter, seconds=0.5)
    request(meter, status=500, error="it broke")
    request(meter, status=429, error="no room")
    emitter.shutdown()
    assert [(span.end_time_unix_nano - span.start_time_unix_nano, span.status.message) for span in sink.spans] == [
        (500_000_000, ""),
        (1_000_000, "it broke"),
    ]


def test_a_fixed_time_says_what_is_slow(sink):
    emitter, meter = meter_of(sink.endpoint, slow_s=0.01)
    for seconds in (0.009, 0.01):
        request(meter, seconds=seconds)
    emitter.shutdown()
    assert len(sink.spans) == 1


def test_a_slow_bucket_bears_the_trace_of_a_request_that_was_kept(sink):
    emitter, meter = meter_of(sink.endpoint, slow_s=0.4)
    for seconds in (0.001, 0.5):
        request(meter, seconds=seconds)
    emitter.shutdown()
    (point,) = sink.last("http.server.request.duration").histogram.data_points
    (exemplar,) = point.exemplars
    (span,) = sink.spans
    assert exemplar.as_double == 0.5
    assert (exemplar.trace_id, exemplar.span_id) == (span.trace_id, span.span_id)
    assert point.count == 2


@pytest.mark.parametrize(("given", "number"), [("always_off", 0), ("always_on", 2), ("trace_based", 1)])
def test_the_filter_of_exemplars_is_opentelemetrys(sink, monkeypatch, given, number):
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", given)
    emitter, meter = meter_of(sink.endpoint, slow_s=0.4)
    for seconds in (0.001, 0.5):
        request(meter, seconds=seconds)
    emitter.shutdown()
    (point,) = sink.last("http.server.request.duration").histogram.data_points
    assert len(point.exemplars) == number


def test_a_request_whose_span_was_dropped_is_no_exemplar(sink, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    emitter, meter = meter_of(sink.endpoint)
    request(meter, seconds=0.001, headers=SAMPLED)
    request(meter, seconds=0.5, headers=SAMPLED)
    emitter.shutdown()
    (point,) = sink.last("http.server.request.duration").histogram.data_points
    assert [exemplar.as_double for exemplar in point.exemplars] == [0.001]


def test_where_a_requests_time_went_is_seen_in_its_spans_and_its_batch_links_to_it(sink):
    emitter, meter = meter_of(sink.endpoint, version="3")
    call = BatchDone(num_samples=5, duration_s=2e-9, input_s=0.0, output_s=0.0, num_requests=2)
    for _ in range(2):
        times = {"decoded_ns": 10**9 + 1, "submitted_ns": 10**9 + 2, "started_ns": 10**9 + 3, "ended_ns": 10**9 + 5}
        request(meter, headers=SAMPLED, prediction=Prediction(outputs={}, call=call, **times))
    request(meter, prediction=Prediction(outputs={}, call=call))
    emitter.shutdown()
    named = {}
    for span in sink.spans:
        named.setdefault(span.name, []).append(span)
    requests, (batch,) = named["POST /infer"], named["batch"]
    for name, begin, end in (("preprocess", 0, 1), ("queue", 2, 3), ("inference", 3, 5)):
        assert [each.start_time_unix_nano - 10**9 for each in named[name]] == [begin] * 2
        assert [each.end_time_unix_nano - 10**9 for each in named[name]] == [end] * 2
        assert [each.parent_span_id for each in named[name]] == [each.span_id for each in requests]
    assert [link.span_id for link in batch.links] == [each.span_id for each in requests]
    assert all(each.links[0].span_id == batch.span_id for each in named["inference"])
    values = {a.key: a.value for a in batch.attributes}
    assert (values["trimtab.batch.size"].int_value, values["trimtab.batch.requests"].int_value) == (5, 2)
    assert values["trimtab.model.version"].string_value == "3"


def test_a_process_that_reports_nothing_counts_as_before(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    emitter, meter = meter_of()
    request(meter, status=500, headers=SAMPLED)
    assert emitter.histogram(conventions.REQUEST_DURATION).lifetime()[0].count == 1
    assert isinstance(emitter, Emitter)
    asyncio.run(asyncio.to_thread(emitter.shutdown))
