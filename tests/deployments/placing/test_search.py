"""The search finds what is known to be best, within memory, and says why nothing can be placed."""

import pytest

from deployments.errors import SettingsError
from deployments.placing import search as searching
from deployments.placing.arrivals import arrivals
from deployments.placing.placement import co_located, fits, split
from deployments.placing.search import score, search, takes
from deployments.placing.simulation import simulate
from deployments.placing.traffic import Node
from deployments.placing.workload import Workload

MIB = 2**20


def node(name="a", cpus=1, memory=1024 * MIB):
    return Node(name=name, cpus=cpus, memory=memory)


def model(name="m", **fields):
    usual = {"sample_s": 0.01, "call_s": 0.0, "requests_per_s": 10.0, "latency_target_s": 0.1, "max_batch_size": 8}
    return Workload(name=name, **usual | {"weights_bytes": 100 * MIB, "replica_bytes": 100 * MIB} | fields)


def found(models, nodes, **options):
    return search(models, nodes, **{"num_requests": 4000, "seed": 0, "goal": 0.99} | options)[0]


def test_a_model_that_needs_both_nodes_gets_both():
    assert found([model(requests_per_s=140)], [node("a"), node("b")]) == ((1, 1),)


def test_a_model_that_needs_one_replica_gets_one():
    assert found([model(requests_per_s=1)], [node("a", cpus=2), node("b", cpus=2)]) == ((1, 0),)


def test_models_that_fit_a_node_each_are_split():
    models = [model("one"), model("two")]
    assert found(models, [node("a", memory=300 * MIB), node("b", memory=300 * MIB)]) in (
        ((1, 0), (0, 1)),
        ((0, 1), (1, 0)),
    )


def test_threads_go_where_there_are_cpus_for_them():
    assert found([model(num_threads=4)], [node("a"), node("b", cpus=4)]) == ((0, 1),)


def test_models_whose_bursts_do_not_coincide_share_the_nodes():
    """Under bursty traffic, co-located models use what the others leave (AlpaServe, Li 2023)."""
    models = [model("one", burstiness=4, requests_per_s=15), model("two", burstiness=4, requests_per_s=15)]
    nodes = [node("a"), node("b")]
    assert found(models, nodes) == ((1, 1), (1, 1))
    times = arrivals(models, 4000, seed=1)
    together, apart = (takes(models, nodes, each, times, 0.95) for each in (((1, 1), (1, 1)), ((1, 0), (0, 1))))
    assert together > 1.5 * apart


def test_steps_lead_to_what_trying_all_finds(monkeypatch):
    models = [model("one", requests_per_s=60), model("two", requests_per_s=20, burstiness=3), model("three")]
    nodes = [node("a"), node("b")]
    best = found(models, nodes)
    monkeypatch.setattr(searching, "EXHAUSTIVE", 0)
    stepped = found(models, nodes)
    times = arrivals(models, 4000, seed=0)
    one, other = (score(models, each, simulate(models, nodes, each, times), 0.99) for each in (best, stepped))
    assert other == pytest.approx(one, abs=0.005)


def test_more_headroom_brings_more_replicas():
    models, nodes = [model(requests_per_s=40)], [node("a", cpus=4)]
    assert sum(found(models, nodes, headroom=4.0)[0]) > sum(found(models, nodes)[0])


def test_equal_searches_find_the_same():
    models = [model("one", burstiness=3), model("two", burstiness=3), model("three", burstiness=3)]
    nodes = [node("a", cpus=2), node("b", cpus=2)]
    assert found(models, nodes, headroom=2.0) == found(models, nodes, headroom=2.0)


def test_co_location_stops_where_memory_ends():
    models, nodes = [model("one"), model("two")], [node("a", memory=400 * MIB), node("b", memory=300 * MIB)]
    placement = co_located(models, nodes)
    assert fits(models, nodes, placement)
    assert placement == ((1, 0), (1, 1))


def test_weights_count_once_a_node():
    assert model().memory_bytes(3) == 400 * MIB
    assert model().memory_bytes(0) == 0


def test_models_without_a_place_are_named():
    models = [model("one"), model("two"), model("three")]
    with pytest.raises(SettingsError, match=r"memory for a replica of each.*one 200 MiB.*a 300 MiB.*'(one|two|three)'"):
        split(models, [node("a", memory=300 * MIB), node("b", memory=300 * MIB)])


def test_what_a_placement_takes_is_where_the_goal_ends():
    """One CPU that needs 10 ms a request, batches of one, a metronome: 100 requests a second, and no more."""
    models = [model(requests_per_s=10, burstiness=0, max_batch_size=1, latency_target_s=0.02)]
    nodes = [node()]
    assert takes(models, nodes, ((1,),), arrivals(models, 4000, seed=0), 0.99) == pytest.approx(10, rel=0.03)


def test_a_placement_that_never_keeps_the_goal_takes_nothing():
    models = [model(burstiness=30)]
    assert takes(models, [node()], ((1,),), arrivals(models, 4000, seed=0), 0.999) == 0
