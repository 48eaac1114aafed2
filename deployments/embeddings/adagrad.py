"""Adagrad on the shard: what it keeps of each element lies beside the rows (Duchi 2011, JMLR 12).

A row becomes `row - learning_rate * gradient / (sqrt(sum) + EPSILON)`, where `sum` is that of its squared gradients, as
with `torch.optim.Adagrad`.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.embeddings.owners import Buckets, Ids
from deployments.embeddings.table import Rows, Table, Values

EPSILON = np.float32(1e-10)

Sums = NDArray[np.float32]
"""Of squared gradients, by element: [ids, width]."""


class SquareSums:
    """The sums of the rows that one process holds; they take memory once there are gradients."""

    def __init__(self, table: Table) -> None:
        self._sums = Rows(replace(table, dtype="float32"))
        self._is_used = False

    def step(self, ids: Ids, gradients: Values, learning_rate: float) -> NDArray[Any]:
        """Count the gradients in, and say what is to be added to the rows; no id may come twice."""
        sums = self._sums.values(ids) + np.square(gradients)
        self._put(ids, sums)
        steps: NDArray[Any] = np.float32(-learning_rate) * gradients / (np.sqrt(sums) + EPSILON)
        return steps

    def read(self, ids: Ids) -> Sums | None:
        """A copy of the sums; none where all are zero, since no gradient ever came."""
        return self._sums.values(ids) if self._is_used else None

    def take(self, ids: Ids, sums: Sums | None) -> None:
        """Put what another copy has in place of the sums."""
        if sums is not None:
            self._put(ids, sums)
        elif self._is_used:
            self._put(ids, np.zeros((len(ids), self._sums.table.width), np.float32))

    def forget(self, buckets: Buckets) -> None:
        """Give the memory of `buckets` back."""
        self._sums.forget(buckets)

    def _put(self, ids: Ids, sums: Sums) -> None:
        self._sums.fill(ids, sums)  # their own versions stay 0: those of the rows decide
        self._is_used = True
