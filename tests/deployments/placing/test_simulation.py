"""The simulation against queueing theory, traces worked out by hand, and what must hold of any queue."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.placing.arrivals import arrivals
from deployments.placing.placement import co_located
from deployments.placing.simulation import REFUSED, simulate
from deployments.placing.traffic import Node
from deployments.placing.workload import Workload

UNBOUNDED = 10**9


def node(cpus=1):
    return Node(name="n", cpus=cpus, memory=2**33)


def workload(**fields):
    """A model whose call takes a second, one request a call."""
    usual = {"name": "m", "sample_s": 1.0, "call_s": 0.0, "requests_per_s": 0.5, "max_batch_size": 1}
    return Workload(**usual | {"max_queue_size": UNBOUNDED} | fields)


def answered(load, times, *, cpus=1, replicas=1):
    """When the requests of one model on one node are answered."""
    times = np.asarray(times, float)
    (model,) = simulate([load], [node(cpus)], ((replicas,),), [times]).models
    return (model.latency_s + times).tolist()


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_poisson_requests_of_one_duration_wait_as_pollaczek_and_khinchine_say(busy):
    """M/D/1: the mean wait is busy / (2 (1 - busy)) of a call."""
    load = workload(requests_per_s=busy)
    (model,) = simulate([load], [node()], ((1,),), arrivals([load], 100_000, seed=0)).models
    wait_s = float(np.mean(model.latency_s)) - 1.0
    assert wait_s == pytest.approx(busy / (2 * (1 - busy)), rel=0.05)


@pytest.mark.parametrize("busy", [0.3, 0.6])
def test_calls_that_share_a_cpu_take_as_long_as_in_a_memoryless_queue(busy):
    """Processor sharing is insensitive to how long calls are: the mean is that of M/M/1, 1 / (1 - busy) of a call."""
    load = workload(requests_per_s=busy)
    (model,) = simulate([load], [node()], ((40,),), arrivals([load], 40_000, seed=0)).models
    assert float(np.mean(model.latency_s)) == pytest.approx(1 / (1 - busy), rel=0.05)


def test_two_models_wait_as_one_queue_of_two_servers_would_share_their_cpus():
    """Two replicas on two CPUs never slow each other: each is an M/D/1 of its own."""
    loads = [workload(requests_per_s=0.6), workload(name="other", requests_per_s=0.3)]
    done = simulate(loads, [node(cpus=2)], ((1,), (1,)), arrivals(loads, 100_000, seed=0))
    for load, model in zip(loads, done.models, strict=True):
        busy = load.requests_per_s
        assert float(np.mean(model.latency_s)) - 1 == pytest.approx(busy / (2 * (1 - busy)), rel=0.06)
    assert done.utilisation[0] == pytest.approx(0.45, rel=0.02)


def test_an_idle_replica_takes_what_waits_up_to_a_batch():
    """A call of n requests takes n + 1 s: [0] until 2, [0.5, 0.6] until 5, [0.7] until 7."""
    load = workload(call_s=1.0, max_batch_size=2)
    assert answered(load, [0.0, 0.5, 0.6, 0.7]) == [2.0, 5.0, 5.0, 7.0]


def test_requests_of_several_samples_fill_a_batch_by_their_samples():
    """Three samples each, at most 7 a call: two requests go together."""
    load = workload(samples=3, max_batch_size=7)
    assert answered(load, [0.0, 0.5, 0.6, 0.7]) == [3.0, 9.0, 9.0, 12.0]


def test_calls_on_one_cpu_slow_each_other():
    """From 0 to 1 one works, then both at half the speed: 3 and 4 s."""
    loads = [workload(sample_s=2.0), workload(name="other", sample_s=2.0)]
    done = simulate(loads, [node()], ((1,), (1,)), [np.array([0.0]), np.array([1.0])])
    assert [model.latency_s.tolist() for model in done.models] == [[3.0], [3.0]]
    assert done.utilisation == (1.0,)


def test_a_request_goes_to_the_replica_with_the_fewest_under_way_or_that_was_not_asked_for_longest():
    times = np.array([0.0, 0.5, 0.6, 2.1])
    (model,) = simulate([workload(sample_s=2.0)], [node(cpus=2)], ((2,),), [times]).models
    assert model.replica.tolist() == [0, 1, 0, 1]
    assert (model.latency_s + times).tolist() == [2.0, 2.5, 4.0, 4.5]


def test_what_could_not_be_answered_in_time_is_refused_and_the_rest_is_in_time():
    """The batcher's own rule: at three times what the model can do, it answers nearly what it can, in time."""
    load = workload(sample_s=0.01, requests_per_s=300, latency_target_s=0.1)
    (model,) = simulate([load], [node()], ((1,),), arrivals([load], 20_000, seed=0)).models
    assert model.share_within(0.1) == pytest.approx(1 / 3, rel=0.05)
    assert np.mean(model.replica == REFUSED) == pytest.approx(2 / 3, rel=0.05)
    assert model.quantile_s(0.99) < 0.11


def test_a_full_queue_refuses():
    load = workload(max_queue_size=1)
    assert answered(load, [0.0, 0.1, 0.2]) == [1.0, 2.0, math.inf]


def test_equal_calls_give_equal_answers():
    load = workload(requests_per_s=0.9, burstiness=4, latency_target_s=5.0)
    one, two = (simulate([load], [node(2)], ((2,),), arrivals([load], 5000, seed=3)) for _ in range(2))
    np.testing.assert_array_equal(one.models[0].latency_s, two.models[0].latency_s)
    np.testing.assert_array_equal(one.models[0].replica, two.models[0].replica)


@st.composite
def situations(draw):
    loads = [
        Workload(
            name=f"m{number}",
            sample_s=draw(st.floats(1e-3, 0.1)),
            call_s=draw(st.floats(0, 0.1)),
            requests_per_s=1.0,
            latency_target_s=draw(st.sampled_from([None, 0.2, 1.0])),
            max_batch_size=draw(st.integers(1, 16)),
            num_threads=draw(st.integers(1, 2)),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    nodes = [
        Node(name=f"n{number}", cpus=draw(st.integers(1, 3)), memory=1) for number in range(draw(st.integers(1, 2)))
    ]
    counts = [[draw(st.integers(0, 2)) for _ in nodes] for _ in loads]
    placement = tuple(tuple(on) if any(on) else (1,) + (0,) * (len(nodes) - 1) for on in counts)
    gaps = st.lists(st.floats(0, 0.2), min_size=0, max_size=40)
    return loads, nodes, placement, [np.cumsum(draw(gaps)) for _ in loads]


@given(situations())
@settings(max_examples=150, deadline=None)
def test_no_request_is_lost_or_overtaken_and_no_node_works_more_than_it_can(situation):
    loads, nodes, placement, times = situation
    done = simulate(loads, nodes, placement, times)
    assert all(0 <= share <= 1 + 1e-9 for share in done.utilisation)
    for load, on, at, model in zip(loads, placement, times, done.models, strict=True):
        assert len(model.latency_s) == len(at)
        was_answered = np.isfinite(model.latency_s)
        np.testing.assert_array_equal(was_answered, model.replica != REFUSED)
        assert load.latency_target_s is not None or was_answered.all()  # 40 requests fill no queue
        assert (model.latency_s >= load.duration_s(1) - 1e-9).all()
        ends = np.round(at + model.latency_s, 9)
        for replica in range(sum(on)):
            own = ends[model.replica == replica]
            assert (np.diff(own) >= 0).all()
            sizes = np.unique(own, return_counts=True)[1]
            assert (sizes <= load.max_batch_size).all()


@pytest.mark.parametrize("burstiness", [0.0, 0.5, 1.0, 4.0])
def test_gaps_have_the_mean_and_the_burstiness_that_was_asked_for(burstiness):
    (times,) = arrivals([workload(requests_per_s=20, burstiness=burstiness)], 200_000, seed=1)
    gaps = np.diff(times)
    assert len(times) == pytest.approx(200_000, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness, rel=0.05, abs=1e-6)


def test_a_hundred_thousand_requests_are_simulated_in_a_few_seconds_of_cpu():
    """About half a second where nothing else runs; the bound is for machines that are slow and busy."""
    loads = [
        workload(name=f"m{number}", sample_s=0.01, call_s=0.005, requests_per_s=15, latency_target_s=0.2)
        for number in range(4)
    ]
    nodes = [node(2), Node(name="other", cpus=2, memory=2**33)]
    times = arrivals(loads, 100_000, seed=0)
    began_s = time.process_time()
    simulate(loads, nodes, co_located(loads, nodes), times)
    assert time.process_time() - began_s < 4
