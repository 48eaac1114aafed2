"""The training loop of one worker; what it shares with others goes through torch.distributed. Nothing here knows Ray.

rows of this worker ─▶ augment ─▶ model, under DDP or FSDP2 ─▶ losses ─▶ step ─▶ after each epoch: a progress
"""

import copy
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization import chance
from optimization.artifact.findings import Precision, PrecisionChoice
from optimization.distillation import taps, transfer
from optimization.distillation.targets import distillation_loss
from optimization.distillation.transfer import StudentWithStates
from optimization.measuring import precision
from optimization.pruning import sparsify
from optimization.pruning.scores import Gradients
from optimization.readers.examples import Inputs, Split
from optimization.training import checkpoint
from optimization.training.augment import augment
from optimization.training.batches import Streamed, num_batches, parts
from optimization.training.coordinator import Progress
from optimization.training.job import Job
from optimization.training.sharing import share, unshared
from optimization.training.stopwatch import Stopwatch


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker stands among the others."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class Meter(Protocol):
    """Counts optimizer steps."""

    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:
        """Count one; `work_s` is the worker's own part, where it has others to wait for."""


def flush_denormals() -> None:
    """Round numbers next to zero to zero; to be called before torch's first operation, whose threads take it over.

    Adam's means of a dead unit, or of a token not seen any more, shrink until they are such numbers, which processors
    are slow at: a step of three layers of 512 took 1.4 times as long from about the 800th on.
    """
    torch.set_flush_denormal(True)


def fit(job: Job, data: Split | Streamed, meter: Meter, place: Place) -> Iterator[Progress]:
    """Train this worker's share and yield the progress after each epoch, at last with the weights.

    The workers share each batch, and the gradient is the mean over the whole batch: equal jobs give equal models,
    whatever the number of workers, up to rounding. Not so with BatchNorm on CPUs: torch synchronizes its statistics
    on GPUs alone, so that there each worker normalizes by its own part of the batch, and the first worker's running
    means are kept.
    """
    settings = job.training
    if isinstance(data, Split) and job.soft is None and not job.repeats_labelled:
        data = data.labelled()  # only a teacher says something of the others
    trained = job.model.to(place.device).train()
    watch = Stopwatch(trained, place.device) if place.world > 1 else None
    torch.manual_seed(chance.number(job.seed, "projections"))
    student_with_states = StudentWithStates(trained, job.soft.state_pairs if job.soft is not None else ()).to(
        place.device
    )
    _lay_out(trained)
    model: nn.Module = student_with_states
    if place.world > 1:
        model = share(model, _example(data, place), sharded=settings.sharded, device=place.device)
    teacher = _Teacher(job, place.device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,  # a step of 11 M weights takes 8 ms in place of 70 [one core]
    )
    num_steps = settings.epochs * num_batches(len(data), settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: rate(done / num_steps, settings.warmup))
    gradients = Gradients(trained, job.score) if job.score else None
    choice = job.choice
    epoch_losses: list[float] = []
    if job.saved is not None:
        epoch_losses, choice = checkpoint.unpack(job.saved, model, optimizer, schedule, gradients)
    held = sparsify.zeros(trained) if job.holds_zeros else {}
    for epoch in range(len(epoch_losses), settings.epochs):
        # Dropout goes on alike after a loss of workers.
        torch.manual_seed(chance.number(job.seed, "dropout", job.first_epoch + epoch, place.rank))
        total = torch.zeros((), device=place.device)
        num_seen = 0
        for split, rows in parts(data, job, epoch, place.rank, place.world):
            if settings.precision == "auto" and not settings.sharded:
                choice = choice or _chosen(job, student_with_states, teacher, split, rows, place)
                job = replace(job, training=settings.model_copy(update={"precision": choice.precision}))
            began = time.perf_counter()
            optimizer.zero_grad()
            losses = _backward(job, model, teacher, split, rows, min(settings.batch_size, len(data)), epoch, place)
            if gradients is not None:
                gradients.observe()
            optimizer.step()
            sparsify.hold(trained, held)
            schedule.step()
            total += losses.sum()
            num_seen += len(rows)
            mean = float(losses.mean())
            work_s = watch.take() if watch is not None else None
            meter.step(job.step, time.perf_counter() - began, work_s, len(rows), mean)
        mean_loss = _mean(total, num_seen)
        if not math.isfinite(mean_loss):  # the same number on every worker, so that all of them stop
            yield Progress(problem=_divergence(job, epoch, mean_loss))
            return
        epoch_losses.append(mean_loss)
        packed = checkpoint.pack(model, optimizer, schedule, epoch_losses, gradients, choice)
        yield Progress(losses=tuple(epoch_losses), checkpoint=packed, choice=choice)
    weights = checkpoint.weights(trained)
    saliency = gradients.saliency() if gradients is not None else None
    yield Progress(losses=tuple(epoch_losses), weights=weights, saliency=saliency, choice=choice)


def rate(progress: float, warmup: float) -> float:
    """The learning rate's share of its highest value: up along a line, then down along a half cosine."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


Answer = tuple[Tensor, tuple[Tensor, ...]]
"""Logits of shape [rows, outputs], and the states inside the teacher that are learned."""


class _Teacher:
    """The teacher's logits and states: looked up where they were computed before, else computed on the batch."""

    def __init__(self, job: Job, device: torch.device) -> None:
        soft = job.soft
        self._model = None if soft is None or soft.teacher is None else soft.teacher.to(device).eval()
        if self._model is not None:
            _lay_out(self._model)
        self._taps = () if soft is None else tuple(tap for each in soft.state_pairs for tap in each.teacher)
        known = [] if soft is None else [soft.logits, soft.pooled]
        self._known = [torch.from_numpy(values) for values in known if values is not None]
        self._device = device

    def answer(
        self, rows: NDArray[np.int64], batch: tuple[Tensor, ...], streamed: NDArray[np.float32] | None
    ) -> Answer | None:
        """What the teacher says of the rows, which may come along `streamed`; none where there is no teacher."""
        if self._model is not None:
            with torch.no_grad():
                return taps.read(self._model, self._taps, batch)
        if streamed is not None:
            return torch.from_numpy(streamed[rows]).to(self._device), ()
        if not self._known:
            return None
        logits, *states = (values[torch.from_numpy(rows)].to(self._device) for values in self._known)
        return logits, tuple(states)


def _backward(
    job: Job,
    model: nn.Module,
    teacher: _Teacher,
    split: Split,
    rows: NDArray[np.int64],
    batch_size: int,
    epoch: int,
    place: Place,
) -> Tensor:
    """Gather the gradients of this worker's rows, part by part where they are accumulated; return the losses."""
    settings = job.training
    pieces = np.array_split(rows, min(settings.accumulate, max(1, len(rows))))
    found: list[Tensor] = []
    for number, part in enumerate(pieces):
        batch: Inputs = split.batch(part)
        if job.augmentation is not None:
            numbers = part if split.numbers is None else split.numbers[part]
            batch = augment(batch, numbers, job.augmentation, job.seed, job.first_epoch + epoch)
        tensors = tuple(torch.from_numpy(values).to(place.device) for values in batch.values())
        labels = torch.from_numpy(split.labels[part]).to(place.device)
        with unshared(model) if number < len(pieces) - 1 else nullcontext():
            with torch.autocast(place.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                logits, states = model(*tensors)
                answer = teacher.answer(part, tensors, split.answers)
            losses = job.task.hard_loss(logits.float(), labels)
            if job.soft is not None and answer is not None:
                mask = dict(zip(batch, tensors, strict=True)).get("attention_mask")
                losses = _taught(job, (logits.float(), states), answer, labels, mask)
            # DDP and FSDP divide by the number of workers: weigh by the share, so that the mean is over the batch.
            loss = losses.sum() * place.world / batch_size
            loss.backward()  # type: ignore[no-untyped-call]
        found.append(losses.detach())
    return torch.cat(found)


def _chosen(
    job: Job, model: nn.Module, teacher: _Teacher, split: Split, rows: NDArray[np.int64], place: Place
) -> PrecisionChoice:
    """The precision that this worker and the others train in, found on a copy of the model and these rows."""
    tried = copy.deepcopy(model)

    def attempt(tried_in: Precision) -> Tensor:
        tried.zero_grad()
        alone = replace(job, training=job.training.model_copy(update={"precision": tried_in}))
        _backward(alone, tried, teacher, split, rows, len(rows), 0, Place(device=place.device))
        return torch.cat([weights.grad.flatten() for weights in tried.parameters() if weights.grad is not None])

    return precision.choose(attempt, precision.SAME_GRADIENTS, place.device)


def _example(data: Split | Streamed, place: Place) -> tuple[Tensor, ...] | None:
    """Two examples, the same on every worker; none where they are streamed."""
    if not isinstance(data, Split):
        return None
    batch = data.batch(np.arange(min(2, len(data))))
    return tuple(torch.from_numpy(values).to(place.device) for values in batch.values())


def _lay_out(model: nn.Module) -> None:
    """Put channels last where pictures are convolved, in place: 1.4 times as fast in bf16 [ResNet-56, AMX]."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def _taught(job: Job, own: Answer, answer: Answer, labels: Tensor, mask: Tensor | None) -> Tensor:
    """Losses of what the student learns from the teacher's answer and the labels, of shape [rows]."""
    soft, (logits, states) = job.soft, answer
    assert soft is not None, "there is a teacher"
    losses = distillation_loss(job.task, own[0], labels, logits.float(), soft.temperature, soft.alpha, soft.soft_loss)
    return losses + transfer.loss(soft.state_pairs, own[1], states, mask) if soft.state_pairs else losses


def _mean(total: Tensor, num_seen: int) -> float:
    """Mean loss over all workers."""
    both = torch.stack([total.double(), torch.tensor(float(num_seen), dtype=torch.float64, device=total.device)])
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(both)
    return float(both[0] / both[1])


def _divergence(job: Job, epoch: int, loss: float) -> str:
    return (
        f"the loss of {job.step!r} must stay finite, got {loss} in epoch {epoch + 1}: "
        f"lower the learning_rate ({job.training.learning_rate})"
    )
