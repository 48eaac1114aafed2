"""A sender with too many series: those beyond its limit are added up in one, and nothing of them is lost."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.conventions import OVERFLOW
from tests.telemetry.series.remembering import Remembering
from tests.telemetry.traffic import START_S, attributes

LIMIT = 3
SUM, GAUGE, HISTOGRAM = "trimtab.inference.samples", "process.memory.usage", "trimtab.queue.duration"


def report(values, at_s, *, metric=SUM, sender="a"):
    """A request with one point of `metric` for each of `values`, told apart by number."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.extend(attributes(service__name="digits", service__instance__id=sender))
    told = resource.scope_metrics.add().metrics.add(name=metric)
    data = {SUM: told.sum, GAUGE: told.gauge, HISTOGRAM: told.histogram}[metric]
    if metric != GAUGE:
        data.aggregation_temporality = otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
    if metric == SUM:
        data.is_monotonic = True
    for number, value in enumerate(values):
        point = data.data_points.add(
            attributes=attributes(row=str(number)),
            start_time_unix_nano=int(START_S * 1e9),
            time_unix_nano=int((START_S + at_s) * 1e9),
        )
        if metric == HISTOGRAM:
            point.count, point.sum = value, 0.5 * value
            point.bucket_counts.extend([0, value, 0])
            point.explicit_bounds.extend([0.1, 1.0])
        else:
            point.as_double = value
    return request


def added(series, request, at_s):
    """What a request adds, by the row that it is of; "more" is the overflow series."""
    found = Counter()
    for each in series.see(request, START_S + at_s)[1]:
        named = dict(each.key.attributes)
        assert named.keys() <= {"row", OVERFLOW}
        found["more" if named.get(OVERFLOW) else named["row"]] += (
            each.amount if isinstance(each.amount, float) else sum(count for _, count in each.amount[1])
        )
    return found


def test_series_beyond_the_senders_limit_are_added_up_in_one():
    series = Remembering(max_sender_series=LIMIT)
    assert added(series, report([1, 2, 3, 4, 5], 1), 1) == {"0": 1, "1": 2, "2": 3, "more": 9}
    assert added(series, report([1, 2, 5, 6, 5], 2), 2) == {"0": 0, "1": 0, "2": 2, "more": 2}
    assert series.binding.num_overflown == 2, "a layout is bound once"
    assert series.num_series == LIMIT + 1


def test_histograms_are_added_up_bucket_by_bucket_and_of_gauges_the_last_is_kept():
    series = Remembering(max_sender_series=LIMIT)
    assert added(series, report([1, 2, 3, 4, 5], 1, metric=HISTOGRAM), 1) == {"0": 1, "1": 2, "2": 3, "more": 9}
    series = Remembering(max_sender_series=LIMIT)
    assert added(series, report([1, 2, 3, 4, 5], 1, metric=GAUGE), 1) == {"0": 1, "1": 2, "2": 3, "more": 5}


def test_another_sender_and_another_metric_have_room_of_their_own():
    series = Remembering(max_sender_series=LIMIT)
    series.see(report([1] * 5, 1), START_S + 1)
    assert added(series, report([1, 2, 3], 1, sender="b"), 1) == {"0": 1, "1": 2, "2": 3}
    assert added(series, report([7, 8], 2, metric=GAUGE), 2) == {"more": 8}, "each metric overflows by itself"


@settings(max_examples=30)
@given(
    limit=st.integers(1, 8),
    steps=st.lists(st.lists(st.integers(0, 9), min_size=6, max_size=6), min_size=1, max_size=6),
)
def test_nothing_that_was_counted_is_lost_whatever_the_limit(limit, steps):
    series, totals, counted = Remembering(max_sender_series=limit), [0] * 6, Counter()
    for at_s, step in enumerate(steps, start=1):
        totals = [total + more for total, more in zip(totals, step, strict=True)]
        counted += added(series, report(totals, at_s), at_s)
    assert counted.total() == sum(totals)
