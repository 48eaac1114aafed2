"""How shards are called: by Ray, and for rows over a socket of their own. Knows Ray."""

import asyncio
import logging
import os
import time
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from deployments.embeddings import wire
from deployments.embeddings.owners import Ids
from deployments.embeddings.shard import Found
from deployments.embeddings.table import Table
from deployments.embeddings.view import ShardGoneError
from deployments.embeddings.wire import Endpoint, Line
from telemetry.emitting.trace import Passed

logger = logging.getLogger(__name__)

NAMESPACE = "trimtab"
RETRY_S = 30.0
"""After so long a connection that could not be made is tried again; until then rows are asked for by Ray."""


class RayShards:
    """Shards of a table, called by name; after `ShardGoneError` whoever has the name next is."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._handles: dict[int, Any] = {}
        self._lines: dict[int, Line] = {}
        self._connecting: dict[int, asyncio.Lock] = {}
        self._by_ray_until: dict[int, float] = {}

    async def call(self, shard: int, method: str, *arguments: Any) -> Any:
        """What the method gives there.

        Raises:
            ShardGoneError: it does not answer any more.
        """
        if method == "lookup" and len(arguments[0]) <= wire.MAX_IDS and await self._has_line(shard):
            return await self._lookup(shard, *arguments)
        handle = self._handles.get(shard)
        if handle is None:
            try:
                handle = await asyncio.to_thread(ray.get_actor, shard_name(self._table.name, shard), NAMESPACE)
            except ValueError as error:
                raise ShardGoneError(f"shard {shard} of table {self._table.name!r} has gone") from error
            self._handles[shard] = handle
        try:
            return await getattr(handle, method).remote(*arguments)
        except RayActorError as error:
            self.forget(shard)
            raise ShardGoneError(f"shard {shard} of table {self._table.name!r} has gone") from error
        except RayTaskError as error:
            raise error.cause from None  # what the shard raised, without the traceback that Ray writes into it

    def forget(self, shard: int) -> None:
        """Look anew for who has the name."""
        self._handles.pop(shard, None)
        if line := self._lines.pop(shard, None):
            line.close()

    async def _lookup(self, shard: int, ids: Ids, told: Passed | None = None) -> Found:
        try:
            return await self._lines[shard].lookup(ids, told)
        except ShardGoneError:
            self.forget(shard)
            raise

    async def _has_line(self, shard: int) -> bool:
        """Whether there is a connection to the shard; it is made if it can be."""
        if shard in self._lines:
            return True
        async with self._connecting.setdefault(shard, asyncio.Lock()):
            if shard in self._lines or time.monotonic() < self._by_ray_until.get(shard, 0.0):
                return shard in self._lines
            self._by_ray_until[shard] = time.monotonic() + RETRY_S
            endpoint: Endpoint | None = await self.call(shard, "endpoint")
            if endpoint is None:
                return False
            try:
                self._lines[shard] = await wire.connect(endpoint, self._table)
            except OSError as error:
                logger.warning("shard %d of table %r is called by Ray: %s", shard, self._table.name, error)
                return False
            self._by_ray_until.pop(shard)
            return True


def may_listen() -> bool:
    """Whether a socket beside Ray's would not undo what protects those."""
    return os.environ.get("RAY_USE_TLS", "0") in ("", "0")


def shard_name(table: str, shard: int) -> str:
    """Ray's name for the shard."""
    return f"embeddings:{table}:{shard}"
