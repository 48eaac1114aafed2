"""Stragglers, from OTLP messages of train workers in simulated time."""

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages

from telemetry import conventions as names
from telemetry.collector import Collector
from telemetry.series.signals import slowness
from tests.telemetry.traffic import START_S, Clock, attributes


def report(rank, at_s, total_s, num_steps):
    """What one worker has counted until now: `num_steps` steps that took it `total_s` of its own."""
    request = messages.ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    identity = {names.SERVICE_NAME: "digits", names.SERVICE_INSTANCE_ID: f"run-rank{rank}"}
    resource.resource.attributes.extend(attributes(**identity))
    metric = resource.scope_metrics.add().metrics.add(name=names.TRAIN_WORK_DURATION.name, unit="s")
    metric.histogram.aggregation_temporality = 2
    point = metric.histogram.data_points.add(
        start_time_unix_nano=int(START_S * 1e9),
        time_unix_nano=int((START_S + at_s) * 1e9),
        sum=total_s,
        count=num_steps,
        bucket_counts=[num_steps],
    )
    point.attributes.extend(attributes(**{names.STEP: "teacher", names.RANK: rank}))
    return request


def train(speeds, seconds=30):
    """Let workers report once a second; `speeds(rank, second)` is how long a step takes that one."""
    clock, num = Clock(), len(speeds(0))
    collector, totals = Collector(clock=clock), np.zeros(num)
    for second in range(1, seconds + 1):
        for rank in range(num):
            clock.now_s = START_S + second + 0.1 * rank
            totals[rank] += 10 * speeds(second)[rank]
            collector.receive_metrics(report(rank, second, totals[rank], 10 * second))
        collector.tick()
    return collector


@pytest.mark.parametrize("num_workers", [2, 4])
def test_a_worker_that_becomes_slow_is_named(num_workers):
    collector = train(lambda second: [0.01] * (num_workers - 1) + [0.04 if second > 10 else 0.01])
    (alert,) = collector.alerts
    assert alert.signal == "straggler"
    assert alert.fired_s - START_S <= 16
    assert alert.sentence.startswith(
        f"digits: worker {num_workers - 1} spends 40 ms of each step on its own work, the others 10"
    )


def test_workers_that_differ_a_little_or_for_a_moment_raise_nothing():
    random = np.random.default_rng(0)
    noise = np.exp(0.1 * random.standard_normal((100, 4)))
    noise[20, 2] *= 5
    assert list(train(lambda second: list(0.01 * noise[second]), seconds=60).alerts) == []


def test_all_slow_together_or_a_single_worker_is_no_straggler():
    assert list(train(lambda second: [0.04 if second > 10 else 0.01] * 3).alerts) == []
    assert list(train(lambda second: [0.04 if second > 10 else 0.01]).alerts) == []


def test_the_ratio_is_plotted():
    collector = train(lambda second: [0.01, 0.01, 0.03])
    assert collector.services["digits"].history["straggler"].values[-1] == pytest.approx(3, rel=0.01)


def test_slowness_compares_with_the_median_of_the_others():
    assert slowness({"0": 1.0, "1": 2.0, "2": 3.0, "3": 12.0})["3"] == pytest.approx(6)
    assert slowness({"0": 1.0}) == {}
