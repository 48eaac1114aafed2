"""A table that an application holds, as the replicas of other applications read it. Knows Ray.

The keeper says what the table is like, again and again: it may end, and begin anew with another shape.
"""

import asyncio
import logging
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from deployments.embeddings.calls import NAMESPACE, RayShards
from deployments.embeddings.keeper_actor import keeper_name
from deployments.embeddings.mapped import MappedTable
from deployments.embeddings.meters import ReaderMeter
from deployments.embeddings.owners import Ids
from deployments.embeddings.reader import Reader
from deployments.embeddings.settings import EmbeddingSettings
from deployments.embeddings.table import Table, Values
from deployments.embeddings.view import ShardGoneError, View
from deployments.errors import RequestError, UnavailableError
from telemetry.emitting.emitter import Emitter

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0


class RemoteTable:
    """Found and followed from `start` on, as long as the process lives."""

    def __init__(self, name: str, emitter: Emitter | None = None) -> None:
        """`emitter` reports what is looked up."""
        self.table: Table | None = None
        self._meter = ReaderMeter(name, emitter)
        self._name = name
        self._keeper = _Keeper(name)
        self._settings: EmbeddingSettings | None = None
        self._reader: Reader | None = None
        self._problem: str | None = f"table {name!r} is being looked for: try again"
        self._following: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for it from now on; needs a running event loop."""
        if self._following is None:
            self._following = asyncio.get_running_loop().create_task(self._follow())

    def problem(self) -> str | None:
        """Why it cannot be read at the moment, if so."""
        return self._problem

    async def lookup(self, ids: Ids) -> Values:
        """The rows of `ids`, whatever their shape: [*ids, width].

        Raises:
            RequestError: an id is unknown, or there are more than the table lets a request have.
            UnavailableError: it cannot be read.
        """
        if self._reader is None or self._settings is None:
            raise UnavailableError(self._problem or f"table {self._name!r} is being looked for: try again")
        if ids.size > self._settings.max_request_ids:
            raise RequestError(
                f"a request must have at most {self._settings.max_request_ids} ids of table {self._name!r}, "
                f"got {ids.size}"
            )
        return await self._reader.lookup(ids)

    async def _follow(self) -> None:
        while True:
            try:
                self._go_by(await self._keeper.settings())
                self._problem = None
            except _UnknownTableError as error:
                self._forget(str(error))
            except (UnavailableError, ShardGoneError) as error:
                if self._reader is None:  # else its shards go on without the keeper
                    self._problem = str(error)
            except Exception:
                logger.exception("table %r cannot be looked at; trying again", self._name)
            await asyncio.sleep(LOOK_EVERY_S)

    def _go_by(self, settings: EmbeddingSettings) -> None:
        if settings == self._settings:
            return
        self._forget(None)
        self._settings, self.table = settings, settings.shape()
        near = MappedTable(self.table)
        shards, reading = RayShards(self.table), settings.reading()
        self._reader = Reader(self.table, shards, self._keeper.view, reading, near=near, meter=self._meter)
        self._hearing = asyncio.get_running_loop().create_task(self._reader.follow())

    def _forget(self, problem: str | None) -> None:
        """Read no more from what was found before."""
        if self._hearing is not None:
            self._hearing.cancel()
        self._problem, self._settings, self._reader = problem, None, None


class _UnknownTableError(UnavailableError):
    """No application holds a table of this name."""


class _Keeper:
    """The keeper of a table that another application started."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._handle: Any = None

    async def settings(self) -> EmbeddingSettings:
        found: EmbeddingSettings = await self._call("settings")
        return found

    async def view(self) -> View:
        found: View = await self._call("view")
        return found

    async def _call(self, method: str) -> Any:
        if self._handle is None:
            try:
                self._handle = await asyncio.to_thread(ray.get_actor, keeper_name(self._table), NAMESPACE)
            except ValueError as error:
                raise _UnknownTableError(
                    f"there is no table {self._table!r}: an application of deployments.app:embeddings must hold it"
                ) from error
        try:
            return await getattr(self._handle, method).remote()
        except RayActorError as error:
            self._handle = None
            raise ShardGoneError(f"the keeper of table {self._table!r} starts anew: try again") from error
        except RayTaskError as error:
            raise error.cause from None
