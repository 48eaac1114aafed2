"""Shards of a table as actors of Ray: started, ended, and asked whether they live."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deployments.collector import collector_url
from deployments.embeddings import snapshot, wire
from deployments.embeddings.calls import NAMESPACE, RayShards, may_listen, shard_name
from deployments.embeddings.initial import Part, initial
from deployments.embeddings.meters import ShardMeter
from deployments.embeddings.owners import Buckets
from deployments.embeddings.settings import EmbeddingSettings
from deployments.embeddings.shard import Shard
from deployments.embeddings.view import ShardGoneError
from deployments.embeddings.wire import Endpoint
from telemetry.emitting import resources
from telemetry.emitting.emitter import Emitter

logger = logging.getLogger(__name__)

LEASE_S = 600.0
RENEW_EVERY_S = 1.0
ANSWER_S = 30.0
"""A shard that does not say within so long that it lives is ended and replaced."""


@dataclass(slots=True)
class Lease:
    """What an actor lives by: it ends where nobody has renewed it for `LEASE_S`."""

    renewed: float = field(default_factory=time.monotonic)

    def renew(self) -> None:
        """Somebody has asked."""
        self.renewed = time.monotonic()

    def is_over(self) -> bool:
        """Whether nobody has for too long."""
        return time.monotonic() - self.renewed > LEASE_S


class ShardActor(Shard):
    """One shard in a process of its own."""

    def __init__(self, number: int, settings: EmbeddingSettings) -> None:
        table = settings.shape()

        def parts(buckets: Buckets, source: str | None) -> Iterator[Part]:
            if source:
                return snapshot.read(source, table, buckets)
            return initial(settings.initial, settings.seed, table, buckets, settings.initial_sha256)

        emitter = self._emitter = Emitter(
            service=f"{settings.table}.shards",
            version="",
            role="shard",
            instance=f"{settings.table}-shard{number}-{uuid4().hex[:8]}",
            endpoint=settings.telemetry_endpoint or collector_url(),
            trace_ratio=0.0,  # the trace that a look-up is asked for under decides
        )
        resources.observe(emitter)
        super().__init__(number, table, RayShards(table), parts, ShardMeter(settings.table, emitter))
        self._lease = Lease()
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
            self._emitter.start()
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
