"""Ranking: each candidate of a query has a score, by which the candidates are put in order.

    relevance, query ─▶ squared error of the score, candidate by candidate ─▶ the candidates of a query in order

A model sees one candidate at a time, so that each is learned and served by itself (pointwise, Liu 2009, 2.1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from optimization.errors import DataError
from optimization.tasks.embedding import number
from optimization.tasks.one_number import OneNumber, squared_error


@dataclass(frozen=True, kw_only=True)
class Ranking(OneNumber):
    """Labels are of shape [candidates, 2]: relevance, no number where it is not known, and the query's number; read are
    scores of shape [candidates, 1]."""

    kind: Literal["ranking"] = "ranking"
    measures: tuple[str, ...] = ("ndcg_at_10", "reciprocal_rank", "candidate_recall_at_10")

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

    def output_name(self, num_outputs: int) -> str:  # noqa: ARG002
        """What it is called."""
        return "score"

    def hard_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Squared error of the relevance."""
        return squared_error(logits, labels[:, 0])

    def ideal(self, labels: NDArray[Any], num_outputs: int) -> NDArray[np.float32]:  # noqa: ARG002
        """The relevance itself."""
        return np.asarray(labels[:, :1], np.float32)

    def right(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the score is the relevance; `measures` tell how good the order is."""
        return np.asarray(answers == labels[:, 0])
