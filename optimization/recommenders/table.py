"""What training needs of a table, and where everything lies in the one that it trains.

Whoever holds tables says how one is opened: the keeper of `deployments.embeddings`, an actor that is called by its
name, hands out a function that opens a `Table` in any process. So nothing of `deployments` is imported here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Rows = NDArray[np.float32]
"""[ids, width]."""
Optimizer = Literal["adagrad", "sgd"]


class Table(Protocol):
    """Rows that many processes look up and train."""

    async def rows(self, ids: Ids) -> Rows:
        """The rows of `ids`, with every gradient that was acknowledged before."""

    async def set(self, ids: Ids, rows: Rows) -> None:
        """Put `rows` in place of others."""

    async def push(self, token: int, ids: Ids, gradients: Rows, *, optimizer: Optimizer, learning_rate: float) -> None:
        """Take a step against `gradients`, once for each `token`; when it returns, it is acknowledged."""

    async def snapshot(self) -> str:
        """Keep the table as it is; where that is."""

    async def renew(self) -> None:
        """Say that the table is in use, until cancelled."""


OpenTable = Callable[[], Table]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One table has the rows of all columns, one after the other, and then the network's weights, row by row."""

    columns: Mapping[str, int]
    """Rows of each."""
    width: int
    num_weights: int

    @property
    def num_rows(self) -> int:
        """All rows of the table."""
        return sum(self.columns.values()) + -(-self.num_weights // self.width)

    @property
    def weights(self) -> Ids:
        """The rows that the network's weights lie in; the last may be longer than they are."""
        return np.arange(sum(self.columns.values()), self.num_rows)

    @property
    def begins(self) -> Ids:
        """The first row of each column."""
        return np.cumsum([0, *self.columns.values()])[:-1]

    def as_rows(self, weights: NDArray[np.float32]) -> Rows:
        """The network's weights, as they lie in the table."""
        return np.pad(weights, (0, len(self.weights) * self.width - self.num_weights)).reshape(-1, self.width)
