"""What trains on Ray: two workers as one, lost workers, and models that diverge."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from optimization.chance import generator
from optimization.distillation.targets import SoftTargets
from optimization.errors import TrainError
from optimization.pruning import sparsify
from optimization.readers.examples import Split
from optimization.recipe.methods import Training
from optimization.tasks import losses as distances
from optimization.tasks.classification import Classification
from optimization.training import batches, loop, worker
from optimization.training.job import Job
from optimization.training.train import Workers
from tests.optimization.training.test_loop import Silent


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 1))


def job(soft: SoftTargets | None = None, **training: float) -> Job:
    given = {"epochs": 3, "batch_size": 33, "learning_rate": 0.02, "precision": "fp32"} | training
    settings = Training.model_validate(given)
    return Job(step="teacher", model=model(), training=settings, seed=5, soft=soft)


@given(
    num=st.integers(1, 300), size=st.integers(1, 64), world=st.integers(1, 4), seed=st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_shares_of_all_workers_make_each_batch_once(num: int, size: int, world: int, seed: int) -> None:
    split = Split(inputs={}, labels=np.zeros(num, np.int64))

    def shards(rank: int, world: int) -> Iterator[NDArray[np.int64]]:
        return batches.shards(split, np.arange(num), size, generator(seed), rank, world)

    alone = list(shards(0, 1))
    shared = list(zip(*(shards(rank, world) for rank in range(world)), strict=True))
    assert len(alone) == batches.num_batches(num, size)
    for batch, shares in zip(alone, shared, strict=True):
        assert sorted(batch) == sorted(np.concatenate(shares))
        assert len(batch) == min(size, num)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    rows = np.concatenate(alone)
    assert len(set(rows)) == len(rows)


def trained_plainly(job: Job, split: Split) -> nn.Module:
    """The same training in one process, without Ray, DDP or shares."""
    inputs, labels = torch.from_numpy(split.inputs["x"]), torch.from_numpy(split.labels)
    settings, start = job.training, job.model
    optimizer = torch.optim.AdamW(start.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    num_steps = settings.epochs * (len(labels) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for epoch in range(settings.epochs):
        for _, rows in batches.parts(split, job, epoch, 0, 1):
            logits = start(inputs[rows])
            losses = Classification().hard_loss(logits, labels[rows])
            if job.soft:
                teacher = torch.from_numpy(job.soft.logits[rows])
                soft = distances.softened(logits, teacher, job.soft.temperature)
                losses = job.soft.alpha * soft + (1 - job.soft.alpha) * losses
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
            schedule.step()
    return start


@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_train_the_model_that_one_process_trains(ray_cluster: None, points: Split) -> None:
    """The batch of 33 does not divide by two; still every example weighs the same."""
    soft = SoftTargets(logits=np.linspace(-2, 2, 200, dtype=np.float32)[:, None], temperature=3.0, alpha=0.5)
    epochs: list[int] = []
    with Workers(points, num_workers=2, service="test") as workers:
        for wanted in (job(), job(soft)):
            got = workers.train(wanted, lambda done, _loss: epochs.append(done)).state_dict()
            expected = trained_plainly(job(wanted.soft), points).state_dict()
            for name in expected:
                torch.testing.assert_close(got[name], expected[name], atol=1e-5, rtol=1e-4)
        assert epochs[-1] == 3
        zeros_stay_and_movement_is_gathered(workers)

        with pytest.raises(
            TrainError, match=r"the loss of 'teacher' must stay finite, got (nan|inf) in epoch 1: lower"
        ):
            workers.train(job(learning_rate=1e30, epochs=1))
        assert workers.train(job()) is not None, "the workers go on after a model that diverged"
    assert ray.is_initialized(), "a cluster that was there before stays"


def zeros_stay_and_movement_is_gathered(workers: Workers) -> None:
    wanted = replace(job(), model=sparsify.sparsify(model(), ratio=0.5), holds_zeros=True, score="movement")
    zeros = {name: weight == 0 for name, weight in wanted.model.named_parameters() if weight.dim() > 1}
    got = workers.train(wanted)
    saliency = workers.saliency()
    assert saliency is not None
    for name, weight in got.named_parameters():
        assert saliency[name].shape == weight.shape
        if name in zeros:
            assert torch.equal(weight == 0, zeros[name])
            assert torch.all(saliency[name][zeros[name]] == 0)
            assert torch.any(saliency[name] != 0)


def train_with_four(_process: int, points: Split) -> None:
    """On a cluster of its own, since that of the other tests has two CPUs."""
    with Workers(points, num_workers=4, service="four") as workers:
        got = workers.train(job()).state_dict()
    expected = trained_plainly(job(), points).state_dict()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], atol=1e-5, rtol=1e-4)


@pytest.mark.ray
@pytest.mark.long
def test_four_workers_train_the_model_that_one_process_trains(points: Split) -> None:
    torch.multiprocessing.spawn(train_with_four, (points,), nprocs=1)


@pytest.mark.ray
@pytest.mark.slow
def test_lost_worker_costs_time_and_not_the_model(ray_cluster: None, points: Split) -> None:
    with Workers(points, num_workers=2, service="test") as workers:
        workers.train(job(epochs=1))  # they start with their first job
        before = train_workers()
        got = workers.train(job(epochs=120), lambda done, _loss: before[0].kill() if done == 1 else None).state_dict()
        assert not set(before) & set(train_workers()), "the worker was lost after the end: the test shows nothing"
    expected = trained_plainly(job(epochs=120), points).state_dict()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], atol=1e-3, rtol=1e-2)


def train_workers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if "TrainWorker" in each.name()]


class Greedy(nn.Module):
    """Wants more memory than there is, from the second epoch on."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = model()
        self.register_buffer("num_calls", torch.zeros(1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.num_calls += 1
        if self.num_calls > 200 // 33:
            torch.empty(2**46, dtype=torch.uint8)
        logits: torch.Tensor = self.inner(inputs)
        return logits


def test_a_failed_allocation_is_told_with_what_to_change(points: Split) -> None:
    with pytest.raises(RuntimeError) as caught:
        list(loop.fit(replace(job(), model=Greedy()), points, Silent(), loop.Place()))
    assert worker.is_out_of_memory(caught.value)
    told = worker.out_of_memory(job(accumulate=2), caught.value)
    assert told.startswith("'teacher' must fit into memory, got: ")
    assert "Lower its batch_size (33) or raise accumulate (2); finished epochs are kept, and gone on from" in told


@pytest.mark.ray
@pytest.mark.long
def test_memory_that_runs_out_leaves_the_last_checkpoint(ray_cluster: None, points: Split, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with (
        Workers(points, num_workers=1, service="greedy") as workers,
        pytest.raises(TrainError, match="'teacher' must fit into memory, got: "),
    ):
        workers.train(replace(job(), model=Greedy(), kept=kept))
    assert len(torch.load(kept, weights_only=True)["losses"]) == 1


@pytest.mark.ray
def test_more_workers_than_cpus_are_refused_at_once(ray_cluster: None, points: Split) -> None:
    with (
        pytest.raises(TrainError, match="workers must be at most the cluster's 2 CPUs, got 3"),
        Workers(points, num_workers=3, service="test") as workers,
    ):
        workers.train(job())
    with (
        pytest.raises(TrainError, match="workers x cpus_per_worker must be at most the cluster's 2 CPUs, got 4"),
        Workers(points, num_workers=2, cpus_per_worker=2, service="test") as workers,
    ):
        workers.train(job())


@pytest.mark.ray
@pytest.mark.long
def test_a_worker_has_the_cpus_that_were_asked_for(ray_cluster: None, points: Split) -> None:
    with Workers(points, num_workers=1, cpus_per_worker=2, service="test") as workers:
        workers.train(job())
        assert "CPU" not in ray.available_resources()


@pytest.mark.ray
@pytest.mark.long
def test_a_training_that_is_stopped_leaves_no_cpu_reserved(ray_cluster: None, points: Split) -> None:
    with pytest.raises(KeyboardInterrupt), Workers(points, num_workers=2, service="test") as workers:
        workers.train(job(epochs=1))
        raise KeyboardInterrupt
    ends_s = time.monotonic() + 30
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        assert time.monotonic() < ends_s
        time.sleep(0.1)
