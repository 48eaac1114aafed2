"""Soft targets: a loss that mixes the labels with the teacher's softened outputs (Hinton 2015, arXiv:1503.02531)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.findings import Precision, PrecisionChoice
from optimization.distillation.transfer import StatePair
from optimization.measuring import precision
from optimization.readers.examples import UNLABELLED, Split
from optimization.recipe.methods import SetPrecision

_AT_ONCE = 256
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
    soft_loss: Literal["kl", "mse"] = "kl"
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
        for rows, batch in split.batches(_AT_ONCE):
            logits = teacher(*(torch.from_numpy(values).to(device) for values in batch.values()))
            found |= dict(zip(rows.tolist(), logits.cpu().numpy(), strict=True))
    return np.stack([found[row] for row in range(len(split))]).astype(np.float32)


def hard_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the labels, of shape [batch]; binary where there is one logit, 0 where there is no label.

    Logits of shape [batch, words, vocabulary] give the mean over the words of each text.
    """
    if logits.ndim == 3:
        words = F.cross_entropy(logits.mT, labels[:, : logits.shape[1]], reduction="none", ignore_index=UNLABELLED)
        return _over_words(words, labels)
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, labels, reduction="none", ignore_index=UNLABELLED)
    losses = F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), reduction="none")
    return losses * (labels != UNLABELLED)


def soft_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of the student from the teacher, both softened, of shape [batch].

    It is multiplied by temperature squared, so that its gradients keep their size as the temperature changes.
    One logit is softened by a sigmoid instead of a softmax.
    """
    student, target = logits / temperature, teacher / temperature
    if logits.shape[1] == 1:
        student = torch.cat([F.logsigmoid(student), F.logsigmoid(-student)], dim=1)
        target = torch.cat([F.logsigmoid(target), F.logsigmoid(-target)], dim=1)
    else:
        student, target = F.log_softmax(student, dim=1), F.log_softmax(target, dim=1)
    return F.kl_div(student, target, reduction="none", log_target=True).sum(dim=1) * temperature**2


def logits_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the logits, of shape [batch] (Kim 2021, arXiv:2105.08919)."""
    return (logits - teacher).square().mean(dim=1)


def distillation_loss(
    logits: Tensor,
    labels: Tensor,
    teacher: Tensor,
    temperature: float,
    alpha: float,
    kind: Literal["kl", "mse"] = "kl",
) -> Tensor:
    """The soft loss of that kind weighted by `alpha` plus the hard loss weighted by the rest, of shape [batch]."""
    own, taught = (each.reshape(-1, each.shape[-1]) for each in (logits, teacher))
    soft = soft_loss(own, taught, temperature) if kind == "kl" else logits_loss(own, taught)
    if logits.ndim == 3:
        soft = _over_words(soft.view(logits.shape[:2]), labels)
    return alpha * soft + (1 - alpha) * hard_loss(logits, labels)


def _over_words(losses: Tensor, labels: Tensor) -> Tensor:
    """Mean over the words of each text, of shape [batch]; what lies behind its end does not count."""
    counts = labels[:, : losses.shape[1]] != UNLABELLED
    return (losses * counts).sum(dim=1) / counts.sum(dim=1)
