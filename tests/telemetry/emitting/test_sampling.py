"""Which requests are reported as spans."""

import logging

import numpy as np
import pytest
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from telemetry.emitting.sampling import NUM_LEARNT, Slowness, sampler_of
from telemetry.emitting.trace import caller_of

SAMPLED = caller_of(f"00-{'1' * 32}-{'2' * 16}-01")
UNSAMPLED = caller_of(f"00-{'1' * 32}-{'2' * 16}-00")


@pytest.mark.parametrize(
    ("name", "argument", "alone", "sampled", "unsampled"),
    [
        ("always_on", "", True, True, True),
        ("always_off", "", False, False, False),
        ("traceidratio", "1.0", True, True, True),
        ("traceidratio", "0", False, False, False),
        ("parentbased_always_on", "", True, True, False),
        ("parentbased_always_off", "", False, True, False),
        ("parentbased_traceidratio", "1", True, True, False),
        ("parentbased_traceidratio", "0.0", False, True, False),
    ],
)
def test_opentelemetrys_samplers_decide_as_documented(name, argument, alone, sampled, unsampled):
    sampler = sampler_of({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument}, 0.5)
    found = [sampler.begin(caller, "").is_sampled for caller in (None, SAMPLED, UNSAMPLED)]
    assert found == [alone, sampled, unsampled]


@pytest.mark.parametrize("variables", [{"OTEL_TRACES_SAMPLER": "jaeger_remote"}, {"OTEL_TRACES_SAMPLER": "mine"}])
def test_another_sampler_leaves_it_to_the_ratio_and_says_so(variables, caplog):
    with caplog.at_level(logging.WARNING):
        assert sampler_of(variables, 1.0).begin(None, "").is_sampled
    assert "OTEL_TRACES_SAMPLER" in caplog.text


def test_the_ratio_decides_by_the_traces_id_as_opentelemetrys_own_sampler_does():
    ours, theirs = sampler_of({}, 0.3), TraceIdRatioBased(0.3)
    traces = [ours.begin(None, "") for _ in range(3000)]
    assert [each.is_sampled for each in traces] == [
        theirs.should_sample(None, each.trace_id, "").decision.is_sampled() for each in traces
    ]
    assert 0.25 < np.mean([each.is_sampled for each in traces]) < 0.35


@pytest.mark.parametrize("scale", [1e-4, 1.0])
def test_about_one_in_a_hundred_is_slow_whatever_the_latency(scale):
    values = scale * np.random.default_rng(0).lognormal(0, 1, 60_000)
    slowness = Slowness(None)
    found = np.array([slowness.judge(value) for value in values])
    assert 0.005 < found[5000:].mean() < 0.02
    assert found[values > 20 * scale][10:].mean() > 0.9, "far above the quantile each one is slow"


def test_latency_that_falls_and_rises_again_is_followed():
    slowness = Slowness(None)
    rng = np.random.default_rng(1)
    for level in (1.0, 0.01, 1.0):
        found = [slowness.judge(level * value) for value in rng.lognormal(0, 0.3, 20_000)]
        assert np.mean(found[12_000:]) < 0.03
    assert sum(found[:200]) > 20, "the first after a rise are slow"


def test_the_first_requests_are_learnt_from_and_not_judged():
    slowness = Slowness(None)
    assert not any(slowness.judge(value) for value in range(NUM_LEARNT))


def test_a_fixed_time_decides_alone():
    slowness = Slowness(0.2)
    assert [slowness.judge(value) for value in (0.1, 0.2, 0.3)] == [False, True, True]
