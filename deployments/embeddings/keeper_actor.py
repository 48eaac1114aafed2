"""The keeper of a table as an actor of Ray, and how it is called.

    replicas -- renew --> keeper -- lives? --> shards

The actors outlive the replicas of the application, so that a new version of it finds its rows again. Each ends when
those before it in the line have not called for `LEASE_S`: an application that was deleted leaves nothing behind.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from deployments.embeddings.calls import NAMESPACE, RayShards
from deployments.embeddings.keeper import Keeper
from deployments.embeddings.mapped import MappedTable
from deployments.embeddings.reader import Reader, Reading
from deployments.embeddings.settings import EmbeddingSettings
from deployments.embeddings.shard_actors import LEASE_S, RENEW_EVERY_S, Lease, RayFleet
from deployments.embeddings.snapshot import SnapshotError
from deployments.embeddings.trained import TrainedTable
from deployments.embeddings.view import ShardGoneError, View
from deployments.errors import SettingsError, UnavailableError

logger = logging.getLogger(__name__)

HEAL_EVERY_S = 0.5
TRAINING_S = 300.0
"""Seconds within which shards must answer those who train: they wait while one that died is replaced."""


class KeeperActor:
    """The keeper of a table; Ray starts it anew where it dies, and it takes over the shards that run."""

    def __init__(self, settings: EmbeddingSettings) -> None:
        self._settings = settings
        self._fleet = RayFleet(settings)
        self._keeper = Keeper(settings.shape(), self._fleet, copies=settings.copies, snapshots=settings.snapshots)
        self._lease = Lease()
        self._tending: asyncio.Task[None] | None = None
        self._problem: str | None = None

    async def renew(self, settings: EmbeddingSettings) -> None:
        """The application goes on, as `settings` say.

        Raises:
            SettingsError: the table that runs has another shape.
        """
        self._lease.renew()
        kept = ("table", "rows", "width", "dtype", "copies", "initial", "seed", "snapshots")
        changed = [name for name in kept if getattr(settings, name) != getattr(self._settings, name)]
        if changed:
            raise SettingsError(
                f"{', '.join(changed)} of table {settings.table!r} cannot change while it is held: give the table "
                f"another name, or end its application and wait {LEASE_S:.0f} s"
            )
        before, self._settings = self._settings, settings
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend())
        elif settings.shards != before.shards:
            self._keeper.want(settings.shards)

    async def view(self) -> View:
        """Who holds what.

        Raises:
            UnavailableError: the table is not loaded yet; the message says what is in the way.
        """
        if self._problem:
            raise UnavailableError(self._problem)
        return self._keeper.view()

    async def settings(self) -> EmbeddingSettings:
        """What those who read the table go by.

        Raises:
            UnavailableError: it is not loaded yet.
        """
        await self.view()
        return self._settings

    async def health(self) -> dict[str, Any]:
        """How the table is."""
        try:
            return asdict(self._keeper.health()) | {"problem": self._problem}
        except UnavailableError as error:
            return {"whole": False, "problem": self._problem or str(error)}

    async def trained(self) -> Callable[[], TrainedTable]:
        """What opens the table in a process that trains it, which need not know what a table is.

        Raises:
            SettingsError: its rows are halves, in which small steps would be lost.
        """
        if self._settings.dtype != "float32":
            raise SettingsError(
                f"dtype of table {self._settings.table!r} must be float32 to be trained, got {self._settings.dtype}"
            )
        return partial(_opened, self._settings)

    async def snapshot(self) -> str:
        """Write the table now; return where.

        Raises:
            SnapshotError: it cannot be written.
        """
        return await self._keeper.snapshot()

    async def end(self) -> None:
        """End the table and its processes, this one the last."""
        if self._tending is not None:
            self._tending.cancel()
        await asyncio.gather(*(self._fleet.end(shard) for shard in range(self._settings.shards)))
        ray.kill(ray.get_runtime_context().current_actor)

    async def _tend(self) -> None:
        """Hold the table until the lease is over."""
        is_open = False
        last_snapshot = time.monotonic()
        while not self._lease.is_over():
            try:
                if not is_open:
                    await self._keeper.open(self._settings.shards)
                    is_open, last_snapshot = True, time.monotonic()
                await self._keeper.heal()
                self._problem = None
                due = self._settings.snapshots and time.monotonic() - last_snapshot >= self._settings.snapshot_every_s
                if due:
                    last_snapshot = time.monotonic()
                    await self._keeper.snapshot()
            except SnapshotError as error:
                logger.error("table %r: %s", self._settings.table, error)
                self._problem = None if is_open else str(error)
            except (UnavailableError, SettingsError, ShardGoneError) as error:
                logger.error("table %r: %s", self._settings.table, error)
                self._problem = str(error)
            await asyncio.sleep(HEAL_EVERY_S)
        logger.warning("table %r: nobody has asked for it for %.0f s: it ends", self._settings.table, LEASE_S)
        self._tending = None
        await self.end()


class RayKeeper:
    """The keeper, as the application's replicas call it; whoever calls first starts it."""

    def __init__(self, settings: EmbeddingSettings) -> None:
        self._settings = settings
        self._handle: Any = None

    async def view(self) -> View:
        """Who holds what.

        Raises:
            UnavailableError: the table is not loaded yet.
            ShardGoneError: the keeper is being started anew.
        """
        found: View = await self._call("view")
        return found

    async def snapshot(self) -> str:
        """Have the table written; where that is.

        Raises:
            SnapshotError: it cannot be written.
            ShardGoneError: the keeper is being started anew.
        """
        where: str = await self._call("snapshot")
        return where

    async def health(self) -> dict[str, Any]:
        """How the table is, as far as that can be told."""
        try:
            told: dict[str, Any] = await self._call("health")
        except ShardGoneError as error:
            return {"whole": False, "problem": str(error)}
        return told

    async def renew_once(self) -> None:
        """Say that the application goes on.

        Raises:
            SettingsError: the table that is held is another.
            ShardGoneError: the keeper is being started anew.
        """
        await self._call("renew", self._settings)

    async def renew(self) -> None:
        """Say that the application goes on, until cancelled."""
        while True:
            try:
                await self.renew_once()
            except (ShardGoneError, SettingsError) as error:
                logger.error("table %r: %s", self._settings.table, error)
            await asyncio.sleep(RENEW_EVERY_S)

    async def _call(self, method: str, *arguments: Any) -> Any:
        if self._handle is None:
            self._handle = await asyncio.to_thread(self._start)
        try:
            return await getattr(self._handle, method).remote(*arguments)
        except RayActorError as error:
            self._handle = None
            raise ShardGoneError(f"the keeper of table {self._settings.table!r} starts anew: try again") from error
        except RayTaskError as error:
            raise error.cause from None

    def _start(self) -> Any:
        name = keeper_name(self._settings.table)
        options: dict[str, Any] = {"name": name, "namespace": NAMESPACE, "lifetime": "detached", "num_cpus": 0}
        actor = ray.remote(KeeperActor).options(**options, max_restarts=-1, get_if_exists=True)
        return actor.remote(self._settings)


def _opened(settings: EmbeddingSettings) -> TrainedTable:
    keeper, table = RayKeeper(settings), settings.shape()
    reading = Reading(staleness_s=settings.staleness_s, cache_rows=0, timeout_s=TRAINING_S)
    reader = Reader(table, RayShards(table), keeper.view, reading, near=MappedTable(table))
    return TrainedTable(reader, keeper)


def keeper_name(table: str) -> str:
    """Ray's name for the keeper of a table."""
    return f"embeddings:{table}:keeper"
