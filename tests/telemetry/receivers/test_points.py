"""What a metrics request says: every point is taken or refused, and none takes the others with it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.receivers.points import points
from telemetry.series.distribution import Distribution
from tests.telemetry.series.remembering import Remembering
from tests.telemetry.traffic import START_S, attributes


def request(*metrics):
    made = ExportMetricsServiceRequest()
    resource = made.resource_metrics.add()
    resource.resource.attributes.extend(attributes(service__name="digits", service__instance__id="a"))
    resource.scope_metrics.add(metrics=metrics)
    return made


def exponential(values, scale, at_s, *, unit="ms"):
    """All values so far, in `unit`, in an exponential histogram of `scale`."""
    indices = np.ceil(np.log2(values) * 2.0**scale).astype(int) - 1
    metric = otlp.Metric(name="http.server.request.duration", unit=unit)
    metric.exponential_histogram.aggregation_temporality = otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
    point = metric.exponential_histogram.data_points.add(
        start_time_unix_nano=int(START_S * 1e9),
        time_unix_nano=int((START_S + at_s) * 1e9),
        count=len(values),
        sum=float(np.sum(values)),
        scale=scale,
    )
    point.positive.offset = int(indices.min())
    point.positive.bucket_counts.extend(np.bincount(indices - indices.min()).tolist())
    return metric


def test_an_attribute_that_comes_twice_loses_no_request():
    twice = otlp.Metric(name="one")
    point = twice.gauge.data_points.add(time_unix_nano=int(START_S * 1e9), as_int=1)
    point.attributes.extend([*attributes(a=1), *attributes(a="text"), *attributes(b=2)])
    other = otlp.Metric(name="other")
    other.gauge.data_points.add(time_unix_nano=int(START_S * 1e9), as_int=2)
    _, added = Remembering().see(request(twice, other), START_S)
    assert [each.amount for each in added] == [1, 2]
    assert added[0].key.attributes == (("a", "text"), ("b", 2))


@pytest.mark.parametrize("unit", ["ms", "s", "us"])
def test_a_falling_scale_recounts_nothing_in_any_unit(unit):
    durations = np.random.default_rng(0).lognormal(1, 0.8, 3000)
    series, counted = Remembering(), []
    for at_s, scale in enumerate((7, 6, 5, 3, 0), start=1):
        metric = exponential(durations[: 600 * at_s], scale, at_s, unit=unit)
        for each in series.see(request(metric), START_S + at_s)[1]:
            counted.append(sum(count for _, count in each.amount[1]))
    assert counted == [600] * 5


def test_milliseconds_in_an_exponential_histogram_are_as_exact_as_its_scale():
    durations = np.random.default_rng(0).lognormal(1, 0.8, 20_000)
    (point,) = points(exponential(durations, 5, 1))
    distribution = Distribution()
    distribution.add(point.value)
    expected = np.quantile(durations / 1000, (0.5, 0.95, 0.99))
    assert distribution.quantiles(0.5, 0.95, 0.99) == pytest.approx(expected, rel=2**2**-5 - 1)


@pytest.mark.parametrize("scale", [-11, 21, 2**31 - 1, -(2**31)])
def test_a_scale_that_no_sender_uses_is_refused(scale):
    metric = exponential(np.ones(3), 0, 1)
    metric.exponential_histogram.data_points[0].scale = scale
    outcome, _ = Remembering().see(request(metric), START_S + 1)
    assert outcome.num_refused == 1
    assert f"scale must lie in [-10, 20], got {scale}" in outcome.reason


times = st.sampled_from([0, 1, int(START_S * 1e9), int((START_S + 5) * 1e9), 2**64 - 1]) | st.integers(0, 2**64 - 1)
counts = st.lists(st.integers(0, 2**63), max_size=4)
named = st.dictionaries(st.sampled_from("ab"), st.text(max_size=3) | st.integers(-9, 9), max_size=2).map(
    lambda given: attributes(**given)
)
stamps = {"time_unix_nano": times, "start_time_unix_nano": times, "attributes": named}
temporalities = st.sampled_from([0, 1, 2])
numbers = st.builds(otlp.NumberDataPoint, as_double=st.floats(), **stamps)
histograms = st.builds(
    otlp.HistogramDataPoint,
    sum=st.floats(),
    bucket_counts=counts,
    explicit_bounds=st.lists(st.floats(), max_size=3),
    **stamps,
)
sides = st.builds(
    otlp.ExponentialHistogramDataPoint.Buckets, offset=st.integers(-(2**31), 2**31 - 1), bucket_counts=counts
)
exponentials = st.builds(
    otlp.ExponentialHistogramDataPoint,
    sum=st.floats(),
    scale=st.integers(-12, 22) | st.integers(-(2**31), 2**31 - 1),
    zero_count=st.integers(0, 2**63),
    positive=sides,
    negative=sides,
    **stamps,
)
units = st.sampled_from(["", "s", "ms", "By"])
metrics = (
    st.builds(otlp.Metric, unit=units, gauge=st.builds(otlp.Gauge, data_points=st.lists(numbers, max_size=3)))
    | st.builds(
        otlp.Metric,
        unit=units,
        sum=st.builds(
            otlp.Sum,
            data_points=st.lists(numbers, max_size=3),
            aggregation_temporality=temporalities,
            is_monotonic=st.booleans(),
        ),
    )
    | st.builds(
        otlp.Metric,
        unit=units,
        histogram=st.builds(
            otlp.Histogram, data_points=st.lists(histograms, max_size=3), aggregation_temporality=temporalities
        ),
    )
    | st.builds(
        otlp.Metric,
        unit=units,
        exponential_histogram=st.builds(
            otlp.ExponentialHistogram,
            data_points=st.lists(exponentials, max_size=3),
            aggregation_temporality=temporalities,
        ),
    )
)


@settings(max_examples=100)
@given(st.lists(st.lists(metrics, max_size=3), max_size=4))
def test_whatever_is_sent_is_taken_or_refused_and_nothing_is_negative(requests):
    series = Remembering()
    for at_s, sent in enumerate(requests):
        outcome, added = series.see(request(*sent), START_S + at_s)
        num_points = sum(len(getattr(m, m.WhichOneof("data")).data_points) for m in sent if m.WhichOneof("data"))
        assert len(added) + outcome.num_refused <= num_points
        assert all(count > 0 for each in added if isinstance(each.amount, tuple) for _, count in each.amount[1])
    for service in series.services.values():
        frame = service.frame(START_S + 100)
        assert frame is None or not any(map(math.isinf, frame.durations.quantiles(0.5, 0.99)))
