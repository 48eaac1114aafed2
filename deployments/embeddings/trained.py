"""A table as a process trains it: rows as they stand now, and gradients, each pushed once however often it is sent.

Nothing is kept here between two calls, so that who waits for a push to be acknowledged reads rows that have it.
"""

from typing import Protocol

from deployments.embeddings.owners import Ids
from deployments.embeddings.reader import Reader
from deployments.embeddings.shard import Optimizer
from deployments.embeddings.table import Values


class Keeps(Protocol):
    """The keeper, as far as it is needed here."""

    async def renew(self) -> None:
        """Say that the table is in use, until cancelled."""

    async def snapshot(self) -> str:
        """Have the table written; where that is."""


class TrainedTable:
    """A table of float32; all methods belong to one event loop."""

    def __init__(self, reader: Reader, keeper: Keeps) -> None:
        self._reader = reader
        self._keeper = keeper

    async def rows(self, ids: Ids) -> Values:
        """The rows of `ids`, [ids, width], float32.

        Raises:
            RequestError: an id is unknown.
            UnavailableError: the shards do not answer in time.
        """
        return await self._reader.lookup(ids)

    async def set(self, ids: Ids, rows: Values) -> None:
        """Put `rows` in place of others; when it returns, every copy has them."""
        await self._reader.change("set", ids, rows)

    async def push(
        self, token: int, ids: Ids, gradients: Values, *, optimizer: Optimizer, learning_rate: float
    ) -> None:
        """Take a step against `gradients`, those of an id that comes twice summed; when it returns, every copy has it.

        What is pushed again with the same `token` is not done again.

        Raises:
            RequestError: an id is unknown.
            UnavailableError: it was not acknowledged in time; push it again with the same token.
        """
        await self._reader.change(optimizer, ids, gradients, learning_rate=learning_rate, token=token)

    async def snapshot(self) -> str:
        """Write the table where its settings say, and return where that is.

        Raises:
            SnapshotError: it cannot be written.
        """
        return await self._keeper.snapshot()

    async def renew(self) -> None:
        """Say that the table is in use, until cancelled; without that, it ends by itself."""
        await self._keeper.renew()
