"""How teacher and student of SST-2 learn: in one process and in bfloat16 where the CPU multiplies it."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.distill import hard_loss, soft_loss
from optimization.examples import Split
from optimization.networks.compact import Compact
from optimization.networks.encoder import Encoder
from optimization.training.loop import shards

_TEMPERATURE = 1.5
_LABELS = 0.1
"""Weight of the labels beside the teacher's logits and states."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the teacher says of texts, the first of which have labels."""

    split: Split
    labels: NDArray[np.int64]
    """Of the first texts."""
    logits: NDArray[np.float32]
    """Of shape [texts, 1]."""
    pooled: NDArray[np.float32]
    """The state its classifier sees, of shape [texts, width]."""


def fine_tune(model: Encoder, split: Split) -> None:
    """One epoch in batches of 32."""

    def loss(rows: NDArray[np.int64], inputs: list[Tensor]) -> Tensor:
        return hard_loss(model(*inputs).float(), torch.from_numpy(split.labels[rows])).mean()

    _train(model, split, loss, batch_size=32, epochs=1, learning_rate=5e-5, falls_along=lambda done: 1 - done)


def answer(teacher: Encoder, split: Split, labels: NDArray[np.int64], cache: Path) -> Answers:
    """The teacher's answers, read from `cache` where they are there."""
    if not cache.exists():
        _ask(teacher, split, cache)
    with np.load(cache) as kept:
        return Answers(split=split, labels=labels, logits=kept["logits"], pooled=kept["pooled"].astype(np.float32))


def learn(student: Compact, answers: Answers, *, from_teacher: bool, epochs: float) -> None:
    """Learn the teacher's answers and the labels, or with as many steps the labels alone."""
    split = answers.split if from_teacher else answers.split.take(np.arange(len(answers.labels)))
    epochs *= len(answers.split) / len(split)

    def from_labels(rows: NDArray[np.int64], inputs: list[Tensor]) -> Tensor:
        return hard_loss(student(*inputs).float(), torch.from_numpy(answers.labels[rows])).mean()

    def from_answers(rows: NDArray[np.int64], inputs: list[Tensor]) -> Tensor:
        pooled = student.pooled(*inputs).float()
        logits = student.head(pooled).float()
        wanted = torch.from_numpy(answers.pooled[rows])
        states = (pooled - wanted).square().sum() / wanted.square().sum()
        soft = soft_loss(logits, torch.from_numpy(answers.logits[rows]), _TEMPERATURE).mean()
        labelled = torch.from_numpy(rows < len(answers.labels))
        if not labelled.any():
            return soft + states
        known = torch.from_numpy(answers.labels[rows[labelled.numpy()]])
        return soft + states + _LABELS * hard_loss(logits[labelled], known).mean()

    loss = from_answers if from_teacher else from_labels
    cosine: Callable[[float], float] = lambda done: (1 + math.cos(math.pi * done)) / 2  # noqa: E731
    _train(student, split, loss, batch_size=64, epochs=epochs, learning_rate=4e-4, falls_along=cosine)


def _ask(teacher: Encoder, split: Split, cache: Path) -> None:
    logits = np.zeros((len(split), 1), np.float32)
    pooled = np.zeros((len(split), teacher.head.in_features), np.float16)

    def note(_head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        pooled[rows] = inputs[0].float().numpy()

    hook = teacher.head.register_forward_pre_hook(note)
    with torch.inference_mode(), _half():
        for rows, batch in split.batches(128):
            logits[rows] = teacher(*(torch.from_numpy(values) for values in batch.values())).float().numpy()
    hook.remove()
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez(cache, logits=logits, pooled=pooled)


def _train(
    model: nn.Module,
    split: Split,
    loss: Callable[[NDArray[np.int64], list[Tensor]], Tensor],
    *,
    batch_size: int,
    epochs: float,
    learning_rate: float,
    falls_along: Callable[[float], float],
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.01, fused=True)
    num_steps = max(1, int(epochs * len(split) / batch_size))
    batches = [rows for epoch in range(math.ceil(epochs) + 1) for rows in shards(split, batch_size, epoch, 0, 1)]
    began = time.perf_counter()
    model.train()
    for step, rows in enumerate(batches[:num_steps]):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 200) * falls_along(step / num_steps)
        with _half():
            found = loss(rows, [torch.from_numpy(values) for values in split.batch(rows).values()])
        optimizer.zero_grad()
        found.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            took = time.perf_counter() - began
            print(f"  step {step} of {num_steps}, loss {found.item():.3f}, {took:.0f} s", file=sys.stderr, flush=True)


def _half() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())
