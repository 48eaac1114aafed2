"""The loop of one worker, without Ray: parts of a batch, checkpoints, shards, chance."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from optimization.distillation import targets, transfer
from optimization.distillation.targets import SoftTargets
from optimization.readers.examples import UNLABELLED, Augmentation, Split
from optimization.recipe.methods import Training
from optimization.recipe.teaching import Pooled
from optimization.training import loop
from optimization.training.augment import augment
from optimization.training.batches import parts
from optimization.training.coordinator import Progress
from optimization.training.job import Job
from optimization.training.loop import Place
from optimization.training.sharing import normalizes_by_batch, unused


class Silent:
    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:
        pass


def job(dropout: float = 0.3, **training: object) -> Job:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Dropout(dropout), nn.Linear(6, 1))
    usual = {"epochs": 4, "batch_size": 32, "learning_rate": 0.02, "precision": "fp32"}
    settings = Training.model_validate(usual | training)
    return Job(step="teacher", model=model, training=settings, seed=5)


def letters(wanted: Job, split: Split, place: Place, saved: bytes | None = None) -> list[Progress]:
    return list(loop.fit(replace(wanted, saved=saved), split, Silent(), place))


def close(one: dict[str, torch.Tensor] | None, other: dict[str, torch.Tensor] | None, atol: float = 0.0) -> None:
    assert one is not None
    assert other is not None
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=atol, rtol=0)


@pytest.mark.parametrize("after", [1, 3])
def test_training_that_goes_on_from_a_checkpoint_ends_as_if_undisturbed(points: Split, after: int) -> None:
    whole = letters(job(), points, Place())
    resumed = letters(job(), points, Place(), whole[after - 1].checkpoint)
    assert [len(each.losses) for each in resumed] == [*range(after + 1, 5), 4]
    assert resumed[-1].losses == whole[-1].losses
    close(whole[-1].weights, resumed[-1].weights)


@pytest.mark.parametrize("score", ["taylor", "movement"])
def test_scores_of_gradients_go_on_from_a_checkpoint(points: Split, score: Literal["taylor", "movement"]) -> None:
    whole = letters(replace(job(), score=score), points, Place())
    resumed = letters(replace(job(), score=score), points, Place(), whole[1].checkpoint)
    close(whole[-1].saliency, resumed[-1].saliency)


def test_accumulated_parts_are_the_whole_batch(points: Split) -> None:
    whole, parts = (letters(job(0, accumulate=number), points, Place())[-1] for number in (1, 5))
    close(whole.weights, parts.weights, atol=1e-6)


def test_bf16_learns_what_fp32_learns(points: Split) -> None:
    for precision in ("fp32", "bf16"):
        wanted = job(0, precision=precision, epochs=15)
        letters(wanted, points, Place())
        with torch.inference_mode():
            right = (wanted.model.eval()(torch.from_numpy(points.inputs["x"]))[:, 0] > 0).numpy() == points.labels
        assert right.mean() > 0.95


def test_rate_rises_along_a_line_and_falls_along_a_cosine() -> None:
    assert [loop.rate(progress, 0.2) for progress in (0, 0.1, 0.2)] == [0, 0.5, 1]
    assert loop.rate(0.6, 0.2) == pytest.approx(0.5)
    assert loop.rate(1, 0) == pytest.approx(0)


def test_texts_of_one_length_share_a_batch() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 3200)
    ids = np.zeros((3200, 60), np.int64)
    split = Split(inputs={"ids": ids}, labels=np.zeros(3200, np.int64), lengths=lengths)
    batches = [split.batch(rows)["ids"].shape[1] * len(rows) for _, rows in parts(split, job(), 0, 0, 1)]
    assert sum(batches) < 1.1 * lengths.sum()
    assert batches != sorted(batches)


def _rows(wanted: Job, split: Split, epoch: int) -> list[int]:
    return np.concatenate([rows for _, rows in parts(split, wanted, epoch, 0, 1)]).tolist()


def test_no_epoch_of_a_seed_is_one_of_another_seed(points: Split) -> None:
    """Neither the order of the examples nor what is done to pictures."""
    every = [(seed, epoch) for seed in range(4) for epoch in range(4)]
    orders = {tuple(_rows(replace(job(), seed=seed), points, epoch)) for seed, epoch in every}
    pictures = np.random.default_rng(0).uniform(size=(8, 3, 9, 9)).astype(np.float32)
    how, rows = Augmentation(shift=4, flip=True), np.arange(8)
    changed = {augment({"image": pictures}, rows, how, *each)["image"].tobytes() for each in every}
    assert len(orders) == len(changed) == len(every)


def test_a_further_stage_goes_on_with_the_epochs_where_the_one_before_ended(points: Split) -> None:
    assert _rows(replace(job(), first_epoch=3), points, 1) == _rows(job(), points, 4)


@pytest.mark.parametrize("num_unlabelled", [50, 180])
def test_labelled_examples_come_again_in_the_place_of_others(points: Split, num_unlabelled: int) -> None:
    """Each as often as another, to within one."""
    labels = points.labels.copy()
    labels[-num_unlabelled:] = UNLABELLED
    split, wanted = replace(points, labels=labels), replace(job(batch_size=25), repeats_labelled=True)
    assert len(_rows(wanted, split, 0)) == len(_rows(replace(wanted, repeats_labelled=False), split, 0)) == 200
    for epoch in range(2):
        counts = np.bincount(_rows(wanted, split, epoch), minlength=200)
        assert not counts[-num_unlabelled:].any()
        assert np.ptp(counts[:-num_unlabelled]) <= 1


def test_augmentation_depends_on_row_seed_and_epoch_alone() -> None:
    pictures = np.random.default_rng(0).uniform(size=(6, 3, 8, 8)).astype(np.float32)
    how = Augmentation(shift=2, flip=True)
    rows = np.arange(6)
    whole = augment({"image": pictures}, rows, how, 1, 0)["image"]
    half = augment({"image": pictures[::2]}, rows[::2], how, 1, 0)["image"]
    np.testing.assert_array_equal(whole[::2], half)
    assert not np.array_equal(whole, augment({"image": pictures}, rows, how, 1, 1)["image"])
    still = augment({"image": pictures}, rows, Augmentation(shift=0, flip=False), 1, 0)["image"]
    np.testing.assert_array_equal(still, pictures)


def _train(rank: int, folder: Path, makes: Sequence[Callable[[], Job]], split: Split) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for make in makes:
        found = letters(make(), split, Place(rank=rank, world=2))
        saved = [found[1].checkpoint]
        dist.broadcast_object_list(saved)
        resumed = letters(make(), split, Place(rank=rank, world=2), saved[0])
        if rank == 0:
            torch.save([found[-1].weights, resumed[-1].weights], folder / f"{make.__name__}.pt")
    dist.destroy_process_group()


def _taught(epochs: int = 4) -> Job:
    """A student of 6 units beside a teacher of 10, so that its pooled state is projected."""
    torch.manual_seed(1)
    teacher = nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 1)).eval()
    wanted = job(0, accumulate=2, epochs=epochs)
    state_pairs = transfer.pair_states(
        [Pooled(kind="pooled", weight=2)], wanted.model, teacher, (torch.zeros(2, 8),), "distill"
    )
    return replace(
        wanted, soft=SoftTargets(logits=None, teacher=teacher, temperature=2, alpha=0.5, state_pairs=state_pairs)
    )


def test_teacher_that_was_asked_before_teaches_as_one_that_is_asked_for_each_batch(points: Split) -> None:
    wanted = _taught()
    assert wanted.soft is not None
    informant = transfer.TeacherWithStates(wanted.soft.teacher, wanted.soft.state_pairs[0].teacher)
    answers = targets.teacher_logits(informant, points)
    known = replace(wanted.soft, teacher=None, logits=answers[:, :1], pooled=answers[:, 1:])
    asked = letters(_taught(), points, Place())[-1]
    looked_up = letters(replace(_taught(), soft=known), points, Place())[-1]
    close(asked.weights, looked_up.weights, atol=1e-6)


def test_states_are_learned(points: Split) -> None:
    """The teacher's state is nearer to a linear map of the student's than where it was not to be learned."""
    inputs = torch.from_numpy(points.inputs["x"])

    def apart(is_learned: bool) -> float:
        wanted = _taught(epochs=30)
        assert wanted.soft is not None
        assert wanted.soft.teacher is not None
        soft = wanted.soft if is_learned else replace(wanted.soft, state_pairs=())
        letters(replace(wanted, soft=soft), points, Place())
        with torch.inference_mode():
            own, other = wanted.model[:2](inputs), wanted.soft.teacher[:2](inputs)
        ones = torch.ones(len(own), 1)
        own, other = torch.cat([own, ones], dim=1).numpy(), other.numpy()
        return float(np.square(own @ np.linalg.lstsq(own, other)[0] - other).mean())

    assert apart(True) < 0.8 * apart(False)


class Idle(nn.Module):
    """Has a layer that nothing reads, as a text encoder's pooler often is."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(8, 1), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.used(x)
        return logits


def _idle() -> Job:
    torch.manual_seed(0)
    return replace(job(), model=Idle())


def test_parameters_that_no_output_depends_on_are_named() -> None:
    student = transfer.StudentWithStates(Idle(), ())
    assert unused(student, (torch.zeros(2, 8),)) == ["student.idle.weight", "student.idle.bias"]


def test_torch_synchronizes_batchnorm_on_gpus_alone() -> None:
    """Where this fails, workers on CPUs can be synchronized too: `fit` and `Workers` say that they cannot."""
    model = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6))
    assert normalizes_by_batch(model)
    synchronized = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert normalizes_by_batch(synchronized)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="SyncBatchNorm expected input tensor to be on GPU"):
            synchronized(torch.zeros(4, 8))
    finally:
        torch.distributed.destroy_process_group()


def _sharded() -> Job:
    return job(0, sharded=True)


def test_two_processes_train_the_model_that_one_process_trains(points: Split, tmp_path: Path) -> None:
    """Sharded (FSDP2), with projections of a teacher's states (DDP), with layers that nothing reads; also resumed."""
    makes = (_sharded, _taught, _idle)
    torch.multiprocessing.spawn(_train, (tmp_path, makes, points), nprocs=2)
    for make in makes:
        whole, resumed = torch.load(tmp_path / f"{make.__name__}.pt", weights_only=True)
        alone = letters(make(), points, Place())[-1].weights
        close(whole, alone, atol=1e-5)
        close(whole, resumed, atol=1e-6)
