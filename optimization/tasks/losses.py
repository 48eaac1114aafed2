"""How far a student's logits are from its teacher's; both of shape [batch, outputs], the losses of shape [batch]."""

import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from torch import Tensor

from optimization.tasks.task import SoftLoss


def apart(logits: Tensor, teacher: Tensor, temperature: float, kind: SoftLoss) -> Tensor:
    """The loss of that kind."""
    return softened(logits, teacher, temperature) if kind == "kl" else squared(logits, teacher)


def softened(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of the student from the teacher, both softened (Hinton 2015, arXiv:1503.02531).

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


def squared(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the logits (Kim 2021, arXiv:2105.08919)."""
    return (logits - teacher).square().mean(dim=1)
