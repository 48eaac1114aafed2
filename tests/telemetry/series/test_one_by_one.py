"""Matrices and points one by one agree on whatever senders do: deltas, resets, gaps, restarts, repeats, clock skew."""

import math

from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from tests.telemetry.series.one_by_one import OneByOne
from tests.telemetry.series.remembering import Remembering
from tests.telemetry.traffic import START_S, attributes

DELTA, CUMULATIVE = otlp.AGGREGATION_TEMPORALITY_DELTA, otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
BOUNDS = ([1.0, 2.0], [0.5])


seconds = st.integers(-2, 12)
starts = st.sampled_from([None, -900, 0, 0, 0, 3, 6])
values = st.integers(0, 30).map(float) | st.sampled_from([0.25, math.nan, math.inf])
counts = st.lists(st.integers(0, 5), min_size=3, max_size=3)
users = st.sampled_from(["", "a", "b"])
kinds = st.sampled_from(["gauge", "counter", "delta", "updown", "updown delta", "histogram", "delta histogram"])
one_point = st.fixed_dictionaries(
    {"at": seconds, "start": starts, "value": values, "counts": counts, "user": users, "is_int": st.booleans()}
    | {"exemplars": st.sampled_from([0, 0, 1, 2])}
)
one_metric = st.tuples(kinds, st.lists(one_point, min_size=1, max_size=3))
one_request = st.fixed_dictionaries(
    {"who": st.sampled_from("ab"), "now": st.integers(0, 12), "skew": st.sampled_from([0, 0, 0, 0, 5000, -5000])}
    | {"metrics": st.lists(one_metric, max_size=4), "bounds": st.sampled_from([0, 0, 0, 1])}
)


def nanos(seconds):
    return int((START_S + seconds) * 1e9)


def made(*, who, now, metrics, skew, bounds):
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.extend(attributes(service__name="digits", service__instance__id=who))
    within = resource.scope_metrics.add()
    for kind, points in metrics:
        metric = within.metrics.add(name=kind, unit="ms" if kind == "counter" else "")
        is_delta = "delta" in kind
        match kind:
            case "gauge":
                data = metric.gauge
            case "histogram" | "delta histogram":
                data = metric.histogram
                data.aggregation_temporality = DELTA if is_delta else CUMULATIVE
            case _:
                data = metric.sum
                data.aggregation_temporality = DELTA if is_delta else CUMULATIVE
                data.is_monotonic = not kind.startswith("updown")
        for each in points:
            point = data.data_points.add(time_unix_nano=nanos(each["at"] + skew))
            point.attributes.extend(attributes(user=each["user"]) if each["user"] else [])
            if each["start"] is not None:
                point.start_time_unix_nano = nanos(each["start"] + skew)
            for number in range(each["exemplars"]):
                point.exemplars.add(time_unix_nano=nanos(number), as_double=1.0, span_id=bytes(8), trace_id=bytes(16))
            if "histogram" in kind:
                edges = BOUNDS[0 if is_delta else bounds]
                point.explicit_bounds.extend(edges)
                point.bucket_counts.extend(each["counts"][: len(edges) + 1])
                point.count, point.sum = sum(each["counts"][: len(edges) + 1]), each["value"]
            elif each["is_int"] and math.isfinite(each["value"]):
                point.as_int = int(each["value"])
            else:
                point.as_double = each["value"]
    return request


POINT = {"at": 1, "start": 0, "value": 3.0, "counts": [1, 2, 3], "user": "", "is_int": False, "exemplars": 0}


ONE_REQUEST = {"who": "a", "now": 1, "skew": 0, "bounds": 0}


@settings(max_examples=200, deadline=None)
@given(st.lists(one_request, max_size=6))
@example([ONE_REQUEST | {"metrics": [("counter", [POINT, POINT | {"at": 2, "value": 5.0}])]}])
def test_matrices_add_what_points_one_by_one_do(requests):
    one_by_one, matrices = OneByOne(START_S), Remembering()
    for each in requests:
        request, now_s = made(**each), START_S + each["now"]
        num_refused, expected = one_by_one.see(request, now_s)
        outcome, found = matrices.see(request, now_s)
        assert outcome.num_refused == num_refused
        assert sorted(map(repr, found)) == sorted(map(repr, expected))


@settings(max_examples=100, deadline=None)
@given(st.lists(one_request, max_size=6))
def test_requests_settled_together_add_the_same(requests):
    one_by_one, matrices = OneByOne(START_S), Remembering()
    expected = []
    for each in requests:
        request, now_s = made(**each), START_S + each["now"]
        expected += one_by_one.see(request, now_s)[1]
        matrices.ingest(request.SerializeToString(), now_s)
    matrices.settle()
    assert sorted(map(repr, matrices.added)) == sorted(map(repr, expected))
