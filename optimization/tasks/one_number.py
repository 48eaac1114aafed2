"""What tasks have in common that answer each sample with one number; outputs and logits are of shape [samples, 1]."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.manifest import Meaning
from optimization.errors import GraphError
from optimization.tasks.task import SoftLoss

_CHANGED = 0.05
"""Answers have changed where they differ by more than this share of how far the answers are spread."""


@dataclass(frozen=True, kw_only=True)
class OneNumber:
    """Where numbers are learned, changed and served; what labels are, a task itself says."""

    output: Meaning = "values"
    is_by_token: bool = False

    def named(self, names: Sequence[str]) -> Self:  # noqa: ARG002
        """The same: how they are called changes nothing."""
        return self

    def names(self, values: Sequence[object]) -> tuple[str, ...]:  # noqa: ARG002
        """None: a number tells nothing apart by name."""
        return ()

    def num_outputs(self, num_labels: int) -> int:  # noqa: ARG002
        """The number."""
        return 1

    def soft_loss(self, logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float, kind: SoftLoss) -> Tensor:  # noqa: ARG002
        """Squared difference; numbers are not softened."""
        return (logits - teacher).square().mean(dim=1)

    def served(self, model: nn.Module) -> nn.Module:
        """The model, which gives what is served."""
        return Values(model)

    def read(self, outputs: NDArray[np.float32], output: Meaning) -> NDArray[np.float32]:
        """The numbers as they are; what a model in training calls logits too.

        Raises:
            GraphError: the output is something else.
        """
        if output not in ("values", "logits"):
            raise GraphError(f"an output of numbers must be values, got {output}")
        return outputs

    def answers(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """The numbers."""
        return read[:, 0]

    def scores(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """The numbers."""
        return read[:, 0]

    def compared(self, labels: NDArray[Any], found: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """As they are."""
        return labels, found

    def confused(self, labels: NDArray[Any], answers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # noqa: ARG002
        """Nothing: numbers are no classes."""
        return np.zeros(0, np.int64), np.zeros(0, np.int64)

    def changed(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Where the numbers differ by more than a twentieth of the first ones' standard deviation."""
        return np.asarray(np.abs(one - other)[:, 0] > _CHANGED * one.std())

    def divergence(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
        """Squared difference, as a share of how far the first ones are spread."""
        apart = np.square(one.astype(np.float64) - other)[:, 0]
        return np.asarray(apart / max(float(one.var()), 1e-12))


def squared_error(logits: Tensor, wanted: Tensor) -> Tensor:
    """Of each sample, from [samples, 1] and [samples]; 0 where no number is wanted."""
    wanted = wanted.to(logits.dtype)
    return torch.where(wanted.isnan(), 0.0, (logits[:, 0] - wanted.nan_to_num()).square())


class Values(nn.Module):
    """A model of numbers: the form that is served."""

    def __init__(self, logits: nn.Module) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, *inputs: Tensor) -> Tensor:
        """Numbers of shape [batch, 1]."""
        found: Tensor = self.logits(*inputs)
        return found
