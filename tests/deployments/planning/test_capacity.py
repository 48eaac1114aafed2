"""The planner's answers are those of queueing theory, at any size of the cluster."""

import dataclasses
import math

import pytest
from pydantic import ByteSize

from deployments.errors import SettingsError
from deployments.placing.traffic import Node
from deployments.placing.workload import Workload
from deployments.planning import capacity
from deployments.planning.capacity import fewest, predicted, replicas_per_node

NODE = Node(name="n", cpus=4, memory=ByteSize(8 * 2**30))
ONE_BY_ONE = Workload(name="m", sample_s=0.010, call_s=0.0, requests_per_s=70.0, max_batch_size=1)


def at(rate, workload=ONE_BY_ONE):
    return dataclasses.replace(workload, requests_per_s=rate)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(capacity, "REQUESTS", 5_000)
    monkeypatch.setattr(capacity, "REQUESTS_PER_REPLICA", 40)
    monkeypatch.setattr(capacity, "CELL", 100)


def test_a_call_that_varies_makes_others_wait_longer():
    varied = dataclasses.replace(ONE_BY_ONE, spread=((1, (0.5, 0.5, 0.5, 2.5)),))
    assert predicted(varied, 1, NODE).p99_s > 1.5 * predicted(ONE_BY_ONE, 1, NODE).p99_s


def test_what_a_request_takes_outside_of_its_replica_is_added_and_keeps_no_replica_busy():
    outside = dataclasses.replace(ONE_BY_ONE, overhead_s=(0.1,))
    plain, delayed = predicted(ONE_BY_ONE, 1, NODE), predicted(outside, 1, NODE)
    assert delayed.p99_s == pytest.approx(plain.p99_s + 0.1)
    assert delayed.utilisation == plain.utilisation


def test_of_the_spread_a_batch_takes_that_of_its_size():
    batched = Workload(name="m", sample_s=0.001, call_s=0.009, requests_per_s=400.0, max_batch_size=8)
    slow_alone = dataclasses.replace(batched, spread=((1, (1.0,)), (2, (3.0,))))
    assert predicted(slow_alone, 1, NODE).p50_s > 2 * predicted(batched, 1, NODE).p50_s


@pytest.mark.parametrize("rate", [60.0, 400.0])
def test_one_replica_fewer_would_be_late(rate):
    found = fewest(at(rate), NODE, 0.040, num_ingresses=1)
    assert found.p99_s <= 0.040
    if found.replicas > 1:
        less = found.replicas - 1
        assert predicted(at(rate), less, NODE).p99_s > 0.040


def test_many_ingresses_need_more_replicas_than_one_that_sees_all():
    """One sends each request to an idle replica; many that know nothing of each other do not."""
    one, many = (fewest(at(1000.0), NODE, 0.040, num_ingresses=number).replicas for number in (1, 50))
    assert many > 1.15 * one


def test_a_cell_answers_as_the_whole_cluster_would(monkeypatch):
    load, replicas = at(64 * 70.0), 64
    whole = predicted(load, replicas, NODE, num_ingresses=32)
    monkeypatch.setattr(capacity, "CELL", 32)
    cell = predicted(load, replicas, NODE, num_ingresses=32)
    assert cell.p99_s == pytest.approx(whole.p99_s, rel=0.1)
    assert cell.utilisation == pytest.approx(whole.utilisation, rel=0.05)


def test_a_million_requests_a_second_on_thousands_of_nodes_are_planned_by_a_few_simulations_of_one_cell():
    tried = []
    found = fewest(at(1e6), NODE, 0.04, num_ingresses=20, progress=tried.append)
    assert found.replicas > 10_000
    assert found.p99_s <= 0.04
    assert len(tried) < 20


def test_a_target_that_no_number_of_replicas_keeps_is_refused_with_the_least_that_one_does():
    with pytest.raises(SettingsError, match=r"--p99 must be at least 10 ms, .* got 9 ms"):
        fewest(at(10.0), NODE, 0.009)


def test_a_node_holds_what_its_cpus_and_its_memory_allow():
    heavy = dataclasses.replace(ONE_BY_ONE, weights_bytes=2**30, replica_bytes=3 * 2**30)
    assert replicas_per_node(ONE_BY_ONE, NODE) == 4
    assert replicas_per_node(heavy, NODE) == 2
    with pytest.raises(SettingsError, match="a node must hold a replica of 'm'"):
        replicas_per_node(dataclasses.replace(heavy, replica_bytes=8 * 2**30), NODE)


def test_more_than_the_replicas_can_do_is_refused_and_said():
    overrun = predicted(at(10_000.0), 1, NODE)
    assert overrun.refused > 0.5
    assert math.isinf(overrun.p99_s)
