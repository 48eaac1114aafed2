"""Regression, similarity included: a sample has a number, such as how alike two texts are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.manifest import Meaning
from optimization.errors import DataError, GraphError
from optimization.tasks.task import SoftLoss

_CHANGED = 0.05
"""Answers have changed where they differ by more than this share of how far the answers are spread."""


@dataclass(frozen=True, kw_only=True)
class Regression:
    """Labels and answers are numbers of shape [samples], no number where there is no label; read: [samples, 1]."""

    kind: Literal["regression"] = "regression"
    output: Meaning = "values"
    measures: tuple[str, ...] = ("mse", "mae", "spearman")
    is_by_token: bool = False

    def named(self, names: Sequence[str]) -> Self:  # noqa: ARG002
        """The same: how they are called changes nothing."""
        return self

    def names(self, values: Sequence[object]) -> tuple[str, ...]:  # noqa: ARG002
        """None: there is nothing to tell apart."""
        return ()

    def encode(self, values: Sequence[object], names: Sequence[str]) -> NDArray[Any]:  # noqa: ARG002
        """The numbers.

        Raises:
            DataError: one of them is none.
        """
        found = np.zeros(len(values), np.float32)
        for row, each in enumerate(values):
            try:
                found[row] = float(str(each))
            except ValueError as error:
                raise DataError(f"labels must be numbers for a regression, got {each!r} in row {row}") from error
        if not np.isfinite(found).all():
            raise DataError(f"labels must be finite numbers, got {found[~np.isfinite(found)][0]}")
        return found

    def num_outputs(self, num_labels: int) -> int:  # noqa: ARG002
        """The number."""
        return 1

    def output_name(self, num_outputs: int) -> str:  # noqa: ARG002
        """What it is called."""
        return "value"

    def hard_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Squared error."""
        wanted = labels.to(logits.dtype)
        return torch.where(wanted.isnan(), 0.0, (logits[:, 0] - wanted.nan_to_num()).square())

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
            raise GraphError(f"a regression's output must be values, got {output}")
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

    def ideal(self, labels: NDArray[Any], num_outputs: int) -> NDArray[np.float32]:  # noqa: ARG002
        """The labels themselves."""
        return np.asarray(labels[:, np.newaxis], np.float32)

    def confused(self, labels: NDArray[Any], answers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # noqa: ARG002
        """Nothing: numbers are no classes."""
        return np.zeros(0, np.int64), np.zeros(0, np.int64)

    def right(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the number is the label's; `measures` tell how near it is elsewhere."""
        return np.asarray(answers == labels)

    def changed(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Where the numbers differ by more than a twentieth of the first ones' standard deviation."""
        return np.asarray(np.abs(one - other)[:, 0] > _CHANGED * one.std())

    def divergence(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
        """Squared difference, as a share of how far the first ones are spread."""
        apart = np.square(one.astype(np.float64) - other)[:, 0]
        return np.asarray(apart / max(float(one.var()), 1e-12))


class Values(nn.Module):
    """A model of numbers: the form that is served."""

    def __init__(self, logits: nn.Module) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, *inputs: Tensor) -> Tensor:
        """Numbers of shape [batch, 1]."""
        found: Tensor = self.logits(*inputs)
        return found
