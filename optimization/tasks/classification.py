"""Classification: a sample has one of the classes. Two have one logit and its sigmoid, more a softmax over all."""

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
from optimization.tasks import losses
from optimization.tasks.task import UNLABELLED, SoftLoss

_LEAST = 1e-9
"""Probabilities below count as this, so that their logarithm is a number."""


@dataclass(frozen=True, kw_only=True)
class Classification:
    """One class a sample; what is read are probabilities of shape [samples, outputs]."""

    kind: Literal["classification"] = "classification"
    output: Meaning = "probabilities"
    two_logits: bool = False
    """Whether two classes have a logit each, as models of others may; ours have one for the second class."""

    measures: tuple[str, ...] = ("accuracy", "f1", "f1_macro", "auroc", "map")
    is_by_token: bool = False

    def named(self, names: Sequence[str]) -> Self:  # noqa: ARG002
        """The same: how they are called changes nothing."""
        return self

    def names(self, values: Sequence[object]) -> tuple[str, ...]:
        """The classes, in order.

        Raises:
            DataError: there is only one.
        """
        found: list[Any] = sorted(set(values))
        if len(found) < 2:
            raise DataError(f"labels must name at least 2 classes, got {found}")
        return tuple(map(str, found))

    def encode(self, values: Sequence[object], names: Sequence[str]) -> NDArray[Any]:
        """The number of each sample's class.

        Raises:
            DataError: no training example has it.
        """
        numbers = {name: number for number, name in enumerate(names)}
        for row, each in enumerate(values):
            if str(each) not in numbers:
                rule = f"examples kept from training have the class {str(each)!r}, which no training example has"
                raise DataError(f"{rule}, in row {row}")
        return np.array([numbers[str(each)] for each in values], np.int64)

    def num_outputs(self, num_labels: int) -> int:
        """One for two classes, else one per class."""
        return 1 if num_labels == 2 and not self.two_logits else num_labels

    def output_name(self, num_outputs: int) -> str:
        """Singular where there is one."""
        return "probability" if num_outputs == 1 else "probabilities"

    def hard_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, binary where there is one logit."""
        if logits.shape[1] > 1:
            return F.cross_entropy(logits, labels, reduction="none", ignore_index=UNLABELLED)
        found = F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), reduction="none")
        return found * (labels != UNLABELLED)

    def soft_loss(self, logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float, kind: SoftLoss) -> Tensor:  # noqa: ARG002
        """Softened KL divergence or squared difference of the logits; labels do not count."""
        return losses.apart(logits, teacher, temperature, kind)

    def served(self, model: nn.Module) -> nn.Module:
        """The model with its softmax or sigmoid."""
        return Probabilities(model)

    def read(self, outputs: NDArray[np.float32], output: Meaning) -> NDArray[np.float32]:
        """Probabilities of shape [samples, outputs].

        Raises:
            GraphError: the output is neither logits nor probabilities.
        """
        if output == "probabilities":
            return outputs
        if output != "logits":
            raise GraphError(f"a classifier's output must be logits or probabilities, got {output}")
        return np.asarray(squash(torch.from_numpy(outputs)).numpy(), np.float32)

    def answers(self, read: NDArray[np.float32]) -> NDArray[np.int64]:
        """The class that each row of probabilities stands for."""
        if read.shape[1] == 1:
            return (read[:, 0] > 0.5).astype(np.int64)
        return np.asarray(read.argmax(axis=1), np.int64)

    def scores(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of the second class of two, else of each."""
        return read if read.shape[1] > 2 else read[:, -1]

    def compared(self, labels: NDArray[Any], found: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """As they are."""
        return labels, found

    def ideal(self, labels: NDArray[Any], num_outputs: int) -> NDArray[np.float32]:
        """All of the probability on the label."""
        if num_outputs == 1:
            return np.asarray(labels[:, np.newaxis], np.float32)
        return np.asarray(np.eye(num_outputs)[labels], np.float32)

    def confused(self, labels: NDArray[Any], answers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As they are."""
        return labels, answers

    def right(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the class is the label."""
        return np.asarray(answers == labels)

    def changed(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Where the class is another."""
        return np.asarray(self.answers(one) != self.answers(other))

    def divergence(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
        """KL(one || other) in nats; a single output is the probability of the second class.

        Where rows do not sum to 1, as of a sigmoid for each class, what they differ by keeps it from falling below 0.
        """
        p, q = (_whole(each).clip(_LEAST) for each in (one, other))
        return np.asarray((p * np.log(p / q) - p + q).sum(axis=1))


class Probabilities(nn.Module):
    """A model of logits with its softmax, or its sigmoid where there is one logit: the form that is served."""

    def __init__(self, logits: nn.Module) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, *inputs: Tensor) -> Tensor:
        """Probabilities of shape [batch, outputs]."""
        return squash(self.logits(*inputs))


def squash(logits: Tensor) -> Tensor:
    """Probabilities of logits of shape [batch, outputs]."""
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


def _whole(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    whole = probabilities.astype(np.float64)
    return np.concatenate([1 - whole, whole], axis=1) if whole.shape[1] == 1 else whole
