"""Regression, similarity included: a sample has a number, such as how alike two texts are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from optimization.errors import DataError
from optimization.tasks.one_number import OneNumber, squared_error


@dataclass(frozen=True, kw_only=True)
class Regression(OneNumber):
    """Labels and answers are numbers of shape [samples], no number where there is no label; read: [samples, 1]."""

    kind: Literal["regression"] = "regression"
    measures: tuple[str, ...] = ("mse", "mae", "spearman")

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

    def output_name(self, num_outputs: int) -> str:  # noqa: ARG002
        """What it is called."""
        return "value"

    def hard_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Squared error."""
        return squared_error(logits, labels)

    def ideal(self, labels: NDArray[Any], num_outputs: int) -> NDArray[np.float32]:  # noqa: ARG002
        """The labels themselves."""
        return np.asarray(labels[:, np.newaxis], np.float32)

    def right(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the number is the label's; `measures` tell how near it is elsewhere."""
        return np.asarray(answers == labels)
