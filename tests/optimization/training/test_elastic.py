"""Workers that come and go, on a cluster of two nodes of its own."""

import time

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from optimization.examples import Split
from optimization.training.train import Workers
from tests.optimization.training.test_train import job, trained_plainly

EPOCHS = 200


def lose_a_node(_process: int, points: Split) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=40)
    lost: list[int] = []

    def advance(num_epochs: int, _loss: float) -> None:
        if num_epochs >= 3 and not lost:
            lost.append(num_epochs)
            cluster.remove_node(second, allow_graceful=False)

    with Workers(points, num_workers=2, min_workers=1, service="elastic") as workers:
        assert sum("TrainWorker" in each["class_name"] for each in actors()) == 2
        wanted = job(epochs=EPOCHS)
        got = workers.train(wanted, advance).state_dict()
        assert sum("TrainWorker" in each["class_name"] for each in actors()) == 1
    assert lost[0] < EPOCHS
    expected = trained_plainly(job(epochs=EPOCHS), points).state_dict()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], atol=1e-3, rtol=1e-2)
    ray.shutdown()
    cluster.shutdown()


def actors() -> list[dict[str, str]]:
    from ray.util.state import list_actors

    return [{"class_name": each.class_name} for each in list_actors(filters=[("state", "=", "ALIVE")])]


@pytest.mark.ray
@pytest.mark.slow
def test_training_goes_on_with_the_workers_that_are_left(points: Split) -> None:
    began = time.perf_counter()
    torch.multiprocessing.spawn(lose_a_node, (points,), nprocs=1)
    print(time.perf_counter() - began)
