"""Soft targets: a loss that mixes the labels with the teacher's softened outputs (Hinton 2015, arXiv:1503.02531)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.findings import Precision, PrecisionChoice
from optimization.distillation.transfer import StatePair
from optimization.measuring import precision
from optimization.readers.examples import Split, in_order
from optimization.recipe.methods import SetPrecision
from optimization.tasks.task import SoftLoss, Task

AT_ONCE = 256
"""Examples the teacher sees in one call."""
_TRIED = 64
"""Of them, those that its precision is chosen by."""


@dataclass(frozen=True, kw_only=True)
class SoftTargets:
    """The teacher's logits on the training data, and how to learn from them."""

    logits: NDArray[np.float32] | None
    """Of shape [samples, outputs], in the order of the training data; none where the teacher sees each batch."""
    temperature: float
    alpha: float
    soft_loss: SoftLoss = "kl"
    teacher: nn.Module | None = None
    """Asked anew for each batch, since its pictures or the states wanted are not kept; none where all is known."""
    state_pairs: tuple[StatePair, ...] = ()
    """States inside the teacher that are learned as well."""
    pooled: NDArray[np.float32] | None = None
    """The teacher's pooled states, of shape [samples, width], where those are the only ones learned."""


class Bf16(nn.Module):
    """A teacher whose products are in bf16."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, *inputs: Tensor) -> Tensor:
        """The teacher's outputs."""
        with torch.autocast(inputs[0].device.type, torch.bfloat16):
            outputs: Tensor = self.teacher(*inputs)
        return outputs.float()


def faster(teacher: nn.Module, split: Split) -> PrecisionChoice:
    """The precision that the teacher answers `split` in: the faster one here that comes to the same answers.

    Workers that answer together must call this together.
    """
    teacher.eval()
    device = next((weights.device for weights in teacher.parameters()), torch.device("cpu"))
    order = np.arange(len(split)) if split.lengths is None else np.argsort(split.lengths, kind="stable")
    middle = order[max(0, len(order) // 2 - _TRIED // 2) :][:_TRIED]  # of texts, those of the usual length
    batch = [torch.from_numpy(values).to(device) for values in split.batch(middle).values()]
    asked = {"fp32": teacher, "bf16": Bf16(teacher)}

    def attempt(tried_in: Precision) -> Tensor:
        with torch.inference_mode():
            answers: Tensor = asked[tried_in](*batch)
        return answers.float()

    return precision.choose(attempt, precision.SAME_ANSWERS, device)


def in_precision(teacher: nn.Module, wanted: SetPrecision, choice: PrecisionChoice | None) -> nn.Module:
    """The teacher with its products in the precision that is wanted, or chosen where that is left open."""
    return Bf16(teacher) if (wanted if choice is None else choice.precision) == "bf16" else teacher


def teacher_logits(teacher: nn.Module, split: Split) -> NDArray[np.float32]:
    """The teacher's logits, of shape [samples, outputs], computed where its weights are."""
    teacher.eval()
    device = next((weights.device for weights in teacher.parameters()), torch.device("cpu"))
    found: dict[int, NDArray[np.float32]] = {}
    with torch.inference_mode():
        for rows, batch in split.batches(AT_ONCE):
            logits = teacher(*(torch.from_numpy(values).to(device) for values in batch.values()))
            found |= dict(zip(rows.tolist(), logits.cpu().numpy(), strict=True))
    return in_order(found).astype(np.float32)


def distillation_loss(
    task: Task,
    logits: Tensor,
    labels: Tensor,
    teacher: Tensor,
    temperature: float,
    alpha: float,
    kind: SoftLoss = "kl",
) -> Tensor:
    """The task's soft loss weighted by `alpha` plus its hard loss weighted by the rest, of shape [batch]."""
    soft = task.soft_loss(logits, teacher, labels, temperature, kind)
    return alpha * soft + (1 - alpha) * task.hard_loss(logits, labels)
