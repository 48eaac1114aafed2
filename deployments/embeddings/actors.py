"""Shards and the keeper as Ray actors: the one file here that knows Ray.

    replicas -- renew --> keeper -- lives? --> shards

The actors outlive the replicas of the application, so that a new version of it finds its rows again. Each ends when
those before it in the line have not called for `LEASE_S`: an application that was deleted leaves nothing behind.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deployments.embeddings import snapshot, wire
from deployments.embeddings.calls import NAMESPACE, RayShards, may_listen, shard_name
from deployments.embeddings.initial import Part, initial
from deployments.embeddings.keeper import Keeper
from deployments.embeddings.mapped import MappedTable
from deployments.embeddings.owners import Buckets
from deployments.embeddings.reader import Reader, Reading
from deployments.embeddings.settings import EmbeddingSettings
from deployments.embeddings.shard import Shard
from deployments.embeddings.snapshot import SnapshotError
from deployments.embeddings.trained import TrainedTable
from deployments.embeddings.view import ShardGoneError, View
from deployments.embeddings.wire import Endpoint
from deployments.errors import SettingsError, UnavailableError

logger = logging.getLogger(__name__)

LEASE_S = 600.0
RENEW_EVERY_S = 1.0
HEAL_EVERY_S = 0.5
ANSWER_S = 30.0
"""A shard that does not say within so long that it lives is ended and replaced."""
TRAINING_S = 300.0
"""Seconds within which shards must answer those who train: they wait while one that died is replaced."""


class ShardActor(Shard):
    """One shard in a process of its own."""

    def __init__(self, number: int, settings: EmbeddingSettings) -> None:
        table = settings.shape()

        def parts(buckets: Buckets, source: str | None) -> Iterator[Part]:
            if source:
                return snapshot.read(source, table, buckets)
            return initial(settings.initial, settings.seed, table, buckets, settings.initial_sha256)

        super().__init__(number, table, RayShards(table), parts)
        self._lease = _Lease()
        self._watching: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[tuple[asyncio.Server, Endpoint]] | None = None

    async def endpoint(self) -> Endpoint | None:
        """Where rows are given over a socket, by the address that Ray has of this node; nowhere if Ray's own calls are
        enciphered."""
        if not may_listen():
            return None
        if self._listening is None:
            host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            self._listening = asyncio.create_task(wire.listen(host, self.rows.table, self.lookup))
        try:
            return (await asyncio.shield(self._listening))[1]
        except OSError as error:
            logger.warning("shard %d gives no rows over a socket: %s", self.number, error)
            return None

    async def lives(self) -> tuple[bool, str]:
        """Whether it has a view to go by, and its node; the keeper asks for it."""
        self._lease.renew()
        if self._watching is None:
            self._watching = asyncio.create_task(self._end_without_keeper())
        return self.view is not None, ray.get_runtime_context().get_node_id()

    async def load(self, buckets: Buckets, source: str | None) -> None:
        """As any shard; the keeper waits for it, and does not ask meanwhile."""
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew())
                await super().load(buckets, source)
                renewing.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _renew(self) -> None:
        while True:
            self._lease.renew()
            await asyncio.sleep(RENEW_EVERY_S)

    async def _end_without_keeper(self) -> None:
        while not self._lease.is_over():
            await asyncio.sleep(RENEW_EVERY_S)
        ray.kill(ray.get_runtime_context().current_actor)


class RayFleet(RayShards):
    """Starts and ends shards."""

    def __init__(self, settings: EmbeddingSettings) -> None:
        super().__init__(settings.shape())
        self._settings = settings
        self._nodes: dict[int, str] = {}

    async def start(self, shard: int) -> None:
        """On the node that has the fewest shards of this table."""
        if await self.lives(shard, or_blank=True):
            return
        given = self._settings
        node = await asyncio.to_thread(self._emptiest, shard)
        options = {
            "name": shard_name(given.table, shard),
            "namespace": NAMESPACE,
            "lifetime": "detached",
            "num_cpus": 0,
            "max_restarts": 0,  # the keeper starts another, which gets its rows from the copies
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True),
        }
        actor = ray.remote(ShardActor).options(**options)
        self._handles[shard] = actor.remote(shard, given)
        await self.lives(shard)

    async def end(self, shard: int) -> None:
        """Kill its process, and wait until its name is free."""
        self.forget(shard)
        self._nodes.pop(shard, None)
        with suppress(ValueError):
            while True:  # until Ray knows of no such actor
                handle = await asyncio.to_thread(ray.get_actor, shard_name(self._settings.table, shard), NAMESPACE)
                ray.kill(handle)
                await asyncio.sleep(0.05)

    async def lives(self, shard: int, *, or_blank: bool = False) -> bool:
        """Whether it answers, and has a view to go by or may be blank."""
        try:
            async with asyncio.timeout(ANSWER_S):
                has_view, self._nodes[shard] = await self.call(shard, "lives")
        except (ShardGoneError, TimeoutError):
            return False
        return or_blank or bool(has_view)

    async def nodes(self, shards: tuple[int, ...]) -> dict[int, str]:
        """Where each shard is."""
        return {shard: self._nodes[shard] for shard in shards if shard in self._nodes}

    def _emptiest(self, shard: int) -> str:
        alive: list[str] = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]
        others = [node for number, node in self._nodes.items() if number != shard]
        return min(alive, key=others.count)


class KeeperActor:
    """The keeper of a table; Ray starts it anew where it dies, and it takes over the shards that run."""

    def __init__(self, settings: EmbeddingSettings) -> None:
        self._settings = settings
        self._fleet = RayFleet(settings)
        self._keeper = Keeper(settings.shape(), self._fleet, copies=settings.copies, snapshots=settings.snapshots)
        self._lease = _Lease()
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


@dataclass(slots=True)
class _Lease:
    renewed: float = field(default_factory=time.monotonic)

    def renew(self) -> None:
        self.renewed = time.monotonic()

    def is_over(self) -> bool:
        return time.monotonic() - self.renewed > LEASE_S


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
