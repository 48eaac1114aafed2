"""Workers that come and go, on a cluster of two nodes of its own."""

import time
from dataclasses import replace

import pytest
import ray
import torch
from ray.cluster_utils import Cluster
from torch import Tensor, nn

from optimization.readers.examples import Split
from optimization.training.train import Workers
from tests.optimization.training.test_train import job, model, trained_plainly

EPOCHS = 100


class Counting(nn.Module):
    """Notes how many workers there were at first and at last, and takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = model()
        self.register_buffer("num_workers", torch.zeros(2))

    def forward(self, inputs: Tensor) -> Tensor:
        time.sleep(0.005)
        world = torch.distributed.get_world_size()
        self.num_workers[1] = world
        if not self.num_workers[0]:
            self.num_workers[0] = world
        logits: Tensor = self.inner(inputs)
        return logits


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
        got = workers.train(replace(job(epochs=EPOCHS), model=Counting()), advance)
    assert got.num_workers.tolist() == [2, 1]
    expected = trained_plainly(job(epochs=EPOCHS), points).state_dict()
    for name, weight in got.inner.state_dict().items():
        torch.testing.assert_close(weight, expected[name], atol=1e-3, rtol=1e-2)
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.ray
@pytest.mark.long
def test_training_goes_on_with_the_workers_that_are_left(points: Split) -> None:
    torch.multiprocessing.spawn(lose_a_node, (points,), nprocs=1)
