"""Ranking: each candidate of a query has a score, by which the candidates are put in order.

    relevance, query ─▶ squared error of the score, candidate by candidate ─▶ the candidates of a query in order

A model sees one candidate at a time, so that each is learned and served by itself (pointwise, Liu 2009, 2.1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.manifest import Meaning
from optimization.errors import DataError, GraphError
from optimization.tasks.embedding import number
from optimization.tasks.regression import Values
from optimization.tasks.task import SoftLoss

_CHANGED = 0.05
"""Scores have changed where they differ by more than this share of how far the scores are spread."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Labels are of shape [candidates, 2]: relevance, no number where it is not known, and the query's number; read are
    scores of shape [candidates, 1]."""

    kind: Literal["ranking"] = "ranking"
    output: Meaning = "values"
    measures: tuple[str, ...] = ("ndcg_at_10", "reciprocal_rank", "candidate_recall_at_10")
    is_by_token: bool = False

    def named(self, names: Sequence[str]) -> Self:  # noqa: ARG002
        """The same: how they are called changes nothing."""
        return self

    def names(self, values: Sequence[object]) -> tuple[str, ...]:  # noqa: ARG002
        """None: relevance is a number."""
        return ()

    def encode(self, values: Sequence[object], names: Sequence[str]) -> NDArray[Any]:  # noqa: ARG002
        """Relevance and a number for the query, given as pairs.

        Raises:
            DataError: a relevance is no number of at least 0.
        """
        found = np.zeros((len(values), 2), np.float64)
        for row, (relevance, query) in enumerate(cast("Sequence[tuple[object, object]]", values)):
            try:
                found[row] = float(str(relevance)), number(query)
            except ValueError as error:
                raise DataError(f"relevance must be a number, got {relevance!r} in row {row}") from error
            if not (math.isfinite(found[row, 0]) and found[row, 0] >= 0):
                raise DataError(f"relevance must be a finite number of at least 0, got {relevance!r} in row {row}")
        return found

    def num_outputs(self, num_labels: int) -> int:  # noqa: ARG002
        """The score."""
        return 1

    def output_name(self, num_outputs: int) -> str:  # noqa: ARG002
        """What it is called."""
        return "score"

    def hard_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Squared error of the relevance."""
        wanted = labels[:, 0].to(logits.dtype)
        return torch.where(wanted.isnan(), 0.0, (logits[:, 0] - wanted.nan_to_num()).square())

    def soft_loss(self, logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float, kind: SoftLoss) -> Tensor:  # noqa: ARG002
        """Squared difference of the scores."""
        return (logits - teacher).square().mean(dim=1)

    def served(self, model: nn.Module) -> nn.Module:
        """The model, which gives what is served."""
        return Values(model)

    def read(self, outputs: NDArray[np.float32], output: Meaning) -> NDArray[np.float32]:
        """The scores as they are.

        Raises:
            GraphError: the output is something else.
        """
        if output not in ("values", "logits"):
            raise GraphError(f"a ranking's output must be values, got {output}")
        return outputs

    def answers(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """The scores."""
        return read[:, 0]

    def scores(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """The scores."""
        return read[:, 0]

    def compared(self, labels: NDArray[Any], found: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """As they are."""
        return labels, found

    def ideal(self, labels: NDArray[Any], num_outputs: int) -> NDArray[np.float32]:  # noqa: ARG002
        """The relevance itself."""
        return np.asarray(labels[:, :1], np.float32)

    def confused(self, labels: NDArray[Any], answers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # noqa: ARG002
        """Nothing: scores are no classes."""
        return np.zeros(0, np.int64), np.zeros(0, np.int64)

    def right(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the score is the relevance; `measures` tell how good the order is."""
        return np.asarray(answers == labels[:, 0])

    def changed(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Where the scores differ by more than a twentieth of the first ones' standard deviation."""
        return np.asarray(np.abs(one - other)[:, 0] > _CHANGED * one.std())

    def divergence(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
        """Squared difference, as a share of how far the first ones are spread."""
        apart = np.square(one.astype(np.float64) - other)[:, 0]
        return np.asarray(apart / max(float(one.var()), 1e-12))
