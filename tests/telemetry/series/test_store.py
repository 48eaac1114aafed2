"""Increments are what happened, whatever the sender's temporality, restarts, repeats and order."""

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.series.track import Track
from tests.telemetry.series.remembering import Remembering
from tests.telemetry.traffic import START_S, attributes

DELTA, CUMULATIVE = otlp.AGGREGATION_TEMPORALITY_DELTA, otlp.AGGREGATION_TEMPORALITY_CUMULATIVE


def counter(value, end, start=0.0, *, temporality=CUMULATIVE, monotonic=True, **named):
    """A request with one sum; times are seconds after the start."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.extend(attributes(service__name="digits", service__instance__id="a"))
    metric = resource.scope_metrics.add().metrics.add(name="trimtab.inference.samples")
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = temporality, monotonic
    metric.sum.data_points.add(
        start_time_unix_nano=int((START_S + start) * 1e9),
        time_unix_nano=int((START_S + end) * 1e9),
        as_double=value,
        attributes=attributes(**named),
    )
    return request


def sent_s(request):
    (point,) = request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
    return point.time_unix_nano / 1e9


def amounts(series, *requests):
    added = [each for request in requests for each in series.see(request, sent_s(request))[1]]
    return [
        (each.amount, round(each.start_ns / 1e9 - START_S, 3), round(each.end_ns / 1e9 - START_S, 3)) for each in added
    ]


def test_cumulative_totals_give_differences():
    assert amounts(Remembering(), counter(5, 1), counter(12, 2), counter(12, 3)) == [(5, 0, 1), (7, 1, 2), (0, 2, 3)]


def test_delta_totals_are_taken_as_they_are():
    requests = [counter(5, 1, 0, temporality=DELTA), counter(7, 2, 1, temporality=DELTA)]
    assert amounts(Remembering(), *requests) == [(5, 0, 1), (7, 1, 2)]


def test_cumulative_and_delta_tell_the_same():
    values = np.random.default_rng(1).integers(0, 50, 20)
    cumulative = [counter(int(total), i + 1) for i, total in enumerate(np.cumsum(values))]
    delta = [counter(int(value), i + 1, i, temporality=DELTA) for i, value in enumerate(values)]
    assert amounts(Remembering(), *cumulative) == amounts(Remembering(), *delta)


def test_a_repeated_point_adds_nothing():
    for temporality in (CUMULATIVE, DELTA):
        request = counter(5, 1, temporality=temporality)
        assert amounts(Remembering(), request, request) == [(5, 0, 1)]


def test_a_late_cumulative_point_adds_nothing_and_a_late_delta_adds_its_own():
    assert amounts(Remembering(), counter(5, 1), counter(20, 3), counter(12, 2)) == [(5, 0, 1), (15, 1, 3)]
    late = [counter(v, t, t - 1, temporality=DELTA) for v, t in ((5, 1), (8, 3), (7, 2))]
    assert amounts(Remembering(), *late) == [(5, 0, 1), (8, 2, 3), (7, 1, 2)]


def test_a_new_start_time_is_a_restart():
    assert amounts(Remembering(), counter(50, 1), counter(60, 9, start=8))[1] == (60, 8, 9)


def test_a_drop_is_a_restart():
    assert amounts(Remembering(), counter(50, 1), counter(4, 2))[1] == (4, 1, 2)


def test_a_process_older_than_the_collector_counts_from_its_first_report():
    assert amounts(Remembering(), counter(10**6, 1, start=-9000), counter(10**6 + 3, 2, start=-9000)) == [(3, 1, 2)]


def test_the_first_error_of_a_known_process_counts_though_its_start_is_old():
    old = {"start": -9000.0}
    series = Remembering()
    amounts(series, counter(10**6, 1, **old), counter(10**6, 2, **old))
    assert amounts(series, counter(30, 3, **old, error__type="timeout")) == [(30, 2, 3)]


def test_a_non_monotonic_sum_is_a_gauge():
    added = [each for t in (1, 2) for each in Remembering().see(counter(7, t, monotonic=False), START_S)[1]]
    assert [(each.gauge, each.amount) for each in added] == [(True, 7.0)] * 2


def test_histograms_give_bucket_differences():
    series, seen = Remembering(), []
    for end, counts in ((1, [1, 0, 2]), (2, [1, 4, 2])):
        request = counter(0, end)
        metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
        metric.histogram.aggregation_temporality = CUMULATIVE
        metric.histogram.data_points.add(
            start_time_unix_nano=int(START_S * 1e9),
            time_unix_nano=int((START_S + end) * 1e9),
            bucket_counts=counts,
            explicit_bounds=[1, 2],
            count=sum(counts),
        )
        seen += [each.amount for each in series.see(request, START_S)[1] if isinstance(each.amount, tuple)]
    assert seen == [(0, ((0, 1), (2, 2))), (0, ((1, 4),))]


def test_series_beyond_the_limit_are_refused_and_counted():
    series = Remembering(max_series=3)
    outcomes = [series.see(counter(1, 1, user=f"u{n}"), START_S)[0] for n in range(10)]
    assert sum(outcome.num_refused for outcome in outcomes) == series.num_refused == 7
    assert "max_series must not exceed 3" in outcomes[-1].reason
    assert series.num_series == 3


def test_series_that_ended_make_room():
    series = Remembering(max_series=1, retention_s=60)
    series.see(counter(1, 1, user="a"), START_S)
    series.expire(START_S + 61)
    assert series.see(counter(1, 99, user="b"), START_S + 99)[0].num_refused == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_number_are_refused_and_the_rest_is_kept(value):
    request = counter(value, 1)
    request.MergeFrom(counter(3, 1, user="fine"))
    outcome, added = Remembering().see(request, START_S)
    assert outcome.num_refused == 1
    assert outcome.reason.startswith("trimtab.inference.samples: values must be finite")
    assert [each.amount for each in added] == [3]


def test_a_track_keeps_its_retention_and_no_more():
    track = Track(retention_s=100, max_points=10**6)
    for time_s in range(10_000):
        track.append(time_s, time_s)
    assert 100 <= len(track.times) <= 120
    assert list(track.times) == list(track.values) == sorted(track.times)


def test_a_track_puts_a_late_point_in_its_place():
    track = Track(retention_s=100, max_points=50)
    for time_s in (1, 2, 4, 3):
        track.append(time_s, time_s)
    assert list(track.values) == [1, 2, 3, 4]
