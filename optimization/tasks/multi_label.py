"""Multi-label: a sample has any number of the labels, each with a sigmoid of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.manifest import Meaning
from optimization.errors import DataError, GraphError
from optimization.tasks.task import UNLABELLED, SoftLoss

_LEAST = 1e-9
"""Probabilities nearer to 0 or 1 count as this far from it, so that their logarithms are numbers."""
_BETWEEN = "|"
"""What stands between the labels of one sample, where they are written as one text."""


@dataclass(frozen=True, kw_only=True)
class MultiLabel:
    """Labels and answers are of shape [samples, labels], 1 where a sample has one; what is read are probabilities."""

    kind: Literal["multi_label"] = "multi_label"
    output: Meaning = "probabilities"
    measures: tuple[str, ...] = ("f1_micro", "f1_macro", "exact_match", "auroc", "map")
    is_by_token: bool = False

    def named(self, names: Sequence[str]) -> Self:  # noqa: ARG002
        """The same: how they are called changes nothing."""
        return self

    def names(self, values: Sequence[object]) -> tuple[str, ...]:
        """All labels that a sample has, in the order of their names."""
        return tuple(sorted({name for each in values for name in _split(each)}))

    def encode(self, values: Sequence[object], names: Sequence[str]) -> NDArray[Any]:
        """Which of the labels each sample has, given as a list, or as one text with | between them."""
        numbers = {name: number for number, name in enumerate(names)}
        found = np.zeros((len(values), len(names)), np.int64)
        for row, each in enumerate(values):
            for name in _split(each):
                if name not in numbers:
                    raise DataError(f"labels must be among {list(names)}, which training examples have, got {name!r}")
                found[row, numbers[name]] = 1
        return found

    def num_outputs(self, num_labels: int) -> int:
        """One per label."""
        return num_labels

    def output_name(self, num_outputs: int) -> str:  # noqa: ARG002
        """Whatever their number."""
        return "probabilities"

    def hard_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy, summed over the labels."""
        found = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
        return (found * (labels != UNLABELLED)).sum(dim=1)

    def soft_loss(self, logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float, kind: SoftLoss) -> Tensor:  # noqa: ARG002
        """Divergence of the softened sigmoids, summed over the labels, or squared difference of the logits."""
        if kind == "mse":
            return (logits - teacher).square().mean(dim=1)
        own, wanted = logits / temperature, torch.sigmoid(teacher / temperature)
        crossed = F.binary_cross_entropy_with_logits(own, wanted, reduction="none")
        least = F.binary_cross_entropy_with_logits(teacher / temperature, wanted, reduction="none")
        return (crossed - least).sum(dim=1) * temperature**2

    def served(self, model: nn.Module) -> nn.Module:
        """The model with its sigmoids."""
        return Sigmoids(model)

    def read(self, outputs: NDArray[np.float32], output: Meaning) -> NDArray[np.float32]:
        """Probabilities.

        Raises:
            GraphError: the output is neither logits nor probabilities.
        """
        if output == "probabilities":
            return outputs
        if output != "logits":
            raise GraphError(f"an output for several labels must be logits or probabilities, got {output}")
        return torch.sigmoid(torch.from_numpy(outputs)).numpy()

    def answers(self, read: NDArray[np.float32]) -> NDArray[np.int64]:
        """The labels that are more likely than not."""
        return (read > 0.5).astype(np.int64)

    def scores(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """Their probabilities."""
        return read

    def compared(self, labels: NDArray[Any], found: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """As they are."""
        return labels, found

    def ideal(self, labels: NDArray[Any], num_outputs: int) -> NDArray[np.float32]:  # noqa: ARG002
        """The labels themselves."""
        return labels.astype(np.float32)

    def confused(self, labels: NDArray[Any], answers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # noqa: ARG002
        """Nothing: a sample has no one class."""
        return np.zeros(0, np.int64), np.zeros(0, np.int64)

    def right(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Where all labels are right."""
        return np.asarray((answers == labels).all(axis=1))

    def changed(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Where one of the labels is another."""
        return np.asarray((self.answers(one) != self.answers(other)).any(axis=1))

    def divergence(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
        """KL(one || other) of each label, summed, in nats."""
        p, q = (each.astype(np.float64).clip(_LEAST, 1 - _LEAST) for each in (one, other))
        return np.asarray((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(axis=1))


class Sigmoids(nn.Module):
    """A model of logits with a sigmoid for each: the form that is served."""

    def __init__(self, logits: nn.Module) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, *inputs: Tensor) -> Tensor:
        """Probabilities of shape [batch, labels]."""
        return torch.sigmoid(self.logits(*inputs))


def _split(value: object) -> list[str]:
    """The labels of one sample."""
    if isinstance(value, str):
        return [each.strip() for each in value.split(_BETWEEN) if each.strip()]
    return [str(each) for each in np.asarray(value).ravel().tolist()]
