"""A cluster of shards in one event loop whose time is simulated: calls take a while, and shards die between any two
steps, where and when a test says.
"""

import asyncio
import random
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any

from deployments.embeddings.initial import Part, initial
from deployments.embeddings.keeper import Keeper
from deployments.embeddings.mapped import MappedShard, MappedTable
from deployments.embeddings.memory import Address
from deployments.embeddings.owners import Buckets
from deployments.embeddings.reader import Reader, Reading
from deployments.embeddings.shard import Shard
from deployments.embeddings.snapshot import read
from deployments.embeddings.table import Table
from deployments.embeddings.view import ShardGoneError

TABLE = Table(name="items", rows=3000, width=1)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Waits for nothing: where nothing is to be done before the next timer, its clock goes there."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select

        def jump(timeout: float | None) -> Any:
            if timeout:
                self._now += timeout
            return select(None if timeout is None else 0)

        self._selector.select = jump

    def time(self) -> float:
        return self._now


class Cluster:
    """Shards of `table`; `seed` decides how long each call takes."""

    def __init__(self, table: Table = TABLE, seed: int = 0, begins: str = "zeros") -> None:
        self.table = table
        self.running: dict[int, Shard] = {}
        self.calls = 0
        self.kill_at: dict[int, int] = {}
        """What dies at the so-maniest step of a call: there are two to each, as it is sent and as it is answered."""
        self._random = random.Random(seed)
        self._begins = begins

    def keeper(self, copies: int = 2, snapshots: str | None = None) -> Keeper:
        return Keeper(self.table, self, copies=copies, snapshots=snapshots)

    def reader(
        self, keeper: Keeper, loop: asyncio.AbstractEventLoop, near: frozenset[int] = frozenset(), **reading: Any
    ) -> Reader:
        """It is on the node of the shards `near`."""

        async def view() -> Any:
            await self._step()
            return keeper.view()

        usual = {"staleness_s": 1.0, "cache_rows": 256, "timeout_s": 60.0}
        mapped = MappedTable(self.table, partial(_SimulatedMemory, self, near)) if near else None
        return Reader(self.table, self, view, Reading(**usual | reading), clock=loop.time, near=mapped)

    async def start(self, shard: int) -> None:
        await self._step()
        if shard not in self.running:
            self.running[shard] = Shard(shard, self.table, _From(self, shard), self._parts)

    async def end(self, shard: int) -> None:
        await self._step()
        self.running.pop(shard, None)

    async def lives(self, shard: int) -> bool:
        await self._step()
        return shard in self.running and self.running[shard].current() is not None

    async def nodes(self, shards: tuple[int, ...]) -> dict[int, str]:
        return {shard: str(shard) for shard in shards}

    async def call(self, shard: int, method: str, *arguments: Any) -> Any:
        await self._step()
        called = self._found(shard)
        answer = getattr(called, method)(*arguments)
        if asyncio.iscoroutine(answer):
            answer = await answer
        await self._step()
        if self._found(shard) is not called:
            raise ShardGoneError(shard)
        return answer

    def kill(self, shard: int) -> None:
        self.running.pop(shard, None)

    def _found(self, shard: int) -> Shard:
        if shard not in self.running:
            raise ShardGoneError(shard)
        return self.running[shard]

    async def _step(self) -> None:
        await asyncio.sleep(self._random.random() * 0.01)
        self.calls += 1
        if self.calls in self.kill_at:
            self.kill(self.kill_at.pop(self.calls))

    def _parts(self, buckets: Buckets, snapshot: str | None) -> Iterator[Part]:
        return read(snapshot, self.table, buckets) if snapshot else initial(self._begins, 0, self.table, buckets)


class _SimulatedMemory(MappedShard):
    """That of a shard, which lives as long as the shard does."""

    def __init__(self, cluster: Cluster, near: frozenset[int], table: Table, address: Address) -> None:
        super().__init__(table, address)
        self._shard = next((each for each in cluster.running.values() if each.address() == address), None)
        self._cluster = cluster
        if self._shard is None or self._shard.number not in near:
            raise OSError("out of reach")

    def lives(self) -> bool:
        return self._shard in self._cluster.running.values()


class _From:
    """What one shard says to others ends with it."""

    def __init__(self, cluster: Cluster, shard: int) -> None:
        self._cluster = cluster
        self._shard = shard

    async def call(self, shard: int, method: str, *arguments: Any) -> Any:
        life = self._cluster.running.get(self._shard)
        await asyncio.sleep(0)
        if life is None or self._cluster.running.get(self._shard) is not life:
            raise ShardGoneError(self._shard)
        return await self._cluster.call(shard, method, *arguments)


def run(work: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop | None = None) -> Any:
    """The result of `work`, in simulated time."""
    with asyncio.Runner(loop_factory=(lambda: loop) if loop else SimulatedLoop) as runner:
        return runner.run(work)
