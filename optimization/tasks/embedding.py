"""Embeddings: a sample becomes a vector, near those of samples that belong with it.

    label: what it belongs with ─▶ a number, equal for equal labels ─▶ contrast within a batch ─▶ unit vectors

How near two are is the cosine, which of unit vectors is their product.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.manifest import Meaning
from optimization.errors import GraphError
from optimization.tasks.task import UNLABELLED, SoftLoss

_CHANGED = 0.05
"""A vector has changed where its cosine with what it was is less than 1 by more than this."""
_TEMPERATURE = 0.1
"""Divides cosines before the softmax of the contrast."""
_ITSELF = -1e4
"""In place of a vector's likeness to itself: the softmax of it is 0, and a sample that is alone has a gradient of 0."""
_AT_ONCE = 1024
"""Vectors that are compared with all others at once."""
_BITS = 52
"""Of the numbers that stand for labels: as floats they are exact."""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Labels are numbers of shape [samples, 1], equal where samples belong together; what is read are unit vectors of
    shape [samples, width]."""

    kind: Literal["embedding"] = "embedding"
    output: Meaning = "values"
    measures: tuple[str, ...] = ("recall_at_1", "recall_at_10")
    is_by_token: bool = False
    width: int = 0
    """Numbers of a vector; 0 before that is known."""

    def named(self, names: Sequence[str]) -> Self:  # noqa: ARG002
        """The same: how they are called changes nothing."""
        return self

    def names(self, values: Sequence[object]) -> tuple[str, ...]:  # noqa: ARG002
        """None: held-out samples belong with others than those that are learned from."""
        return ()

    def encode(self, values: Sequence[object], names: Sequence[str]) -> NDArray[Any]:  # noqa: ARG002
        """A number for each label, the same in all data."""
        return np.array([number(each) for each in values], np.int64).reshape(-1, 1)

    def num_outputs(self, num_labels: int) -> int:  # noqa: ARG002
        """The numbers of a vector."""
        return self.width

    def output_name(self, num_outputs: int) -> str:  # noqa: ARG002
        """What it is called."""
        return "embedding"

    def hard_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Contrast with the batch's other samples, of which those with the same label are to be near.

        0 where no other has it (Khosla 2020, arXiv:2004.11362, 3.2.2, L_out). Each worker contrasts its own part.
        """
        vectors, numbers = F.normalize(logits, dim=1), labels[:, 0]
        others = ~torch.eye(len(vectors), dtype=torch.bool, device=logits.device)
        alike = (numbers[:, None] == numbers[None, :]) & others & (numbers != UNLABELLED)
        scores = (vectors @ vectors.T / _TEMPERATURE).masked_fill(~others, _ITSELF)
        apart = -torch.log_softmax(scores, dim=1).masked_fill(~alike, 0.0)
        return apart.sum(dim=1) / alike.sum(dim=1).clamp_min(1)

    def soft_loss(self, logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float, kind: SoftLoss) -> Tensor:  # noqa: ARG002
        """One less the cosine with the teacher's vector, or squared difference; there is nothing to soften."""
        if kind == "mse":
            return (logits - teacher).square().mean(dim=1)
        return 1 - F.cosine_similarity(logits, teacher, dim=1)

    def served(self, model: nn.Module) -> nn.Module:
        """The model with its vectors brought to length 1."""
        return UnitVectors(model)

    def read(self, outputs: NDArray[np.float32], output: Meaning) -> NDArray[np.float32]:
        """Unit vectors.

        Raises:
            GraphError: the output is something else.
        """
        if output not in ("values", "logits"):
            raise GraphError(f"an embedding's output must be values, got {output}")
        lengths = np.linalg.norm(outputs.astype(np.float64), axis=1, keepdims=True)
        return np.asarray(outputs / np.maximum(lengths, 1e-12), np.float32)

    def answers(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vectors."""
        return read

    def scores(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vectors."""
        return read

    def compared(self, labels: NDArray[Any], found: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The numbers that stand for labels, of shape [samples], and the vectors."""
        return labels[:, 0], found

    def ideal(self, labels: NDArray[Any], num_outputs: int) -> NDArray[np.float32]:
        """A direction at random for each label."""
        numbers, place = np.unique(labels[:, 0], return_inverse=True)
        directions = np.random.default_rng(0).normal(size=(len(numbers), max(num_outputs, 2)))
        return self.read(np.asarray(directions[place], np.float32), "values")

    def confused(self, labels: NDArray[Any], answers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # noqa: ARG002
        """Nothing: vectors are no classes."""
        return np.zeros(0, np.int64), np.zeros(0, np.int64)

    def right(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the nearest other vector has the same label."""
        return nearest_alike(labels[:, 0], answers, 1)

    def changed(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Where the cosine of the two is below 0.95."""
        return np.asarray(self.divergence(one, other) > _CHANGED)

    def divergence(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
        """One less the cosine of the two."""
        return np.asarray(np.maximum(0.0, 1 - (one.astype(np.float64) * other).sum(axis=1)))


class UnitVectors(nn.Module):
    """A model of vectors, brought to length 1: the form that is served."""

    def __init__(self, vectors: nn.Module) -> None:
        super().__init__()
        self.vectors = vectors

    def forward(self, *inputs: Tensor) -> Tensor:
        """Vectors of shape [batch, width]."""
        return F.normalize(self.vectors(*inputs), dim=1)


def number(label: object) -> int:
    """What stands for a label in all data: equal labels have equal numbers."""
    return int.from_bytes(hashlib.sha256(str(label).encode()).digest()[:8], "big") >> (64 - _BITS)


def nearest_alike(numbers: NDArray[Any], vectors: NDArray[np.float32], num: int) -> NDArray[np.bool_]:
    """Whether one of the `num` nearest other vectors has the same number, of shape [samples].

    Recall at `num`, as in Song 2016 (arXiv:1511.06452).
    """
    found = np.zeros(len(vectors), np.bool_)
    num = min(num, len(vectors) - 1)
    for start in range(0, len(vectors) if num else 0, _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(vectors)))
        cosines = vectors[rows] @ vectors.T
        cosines[np.arange(len(rows)), rows] = -np.inf
        nearest = np.argpartition(-cosines, num - 1, axis=1)[:, :num]
        found[rows] = (numbers[nearest] == numbers[rows, np.newaxis]).any(axis=1)
    return found
