"""Random changes, reads, kills and moves: nothing that was acknowledged is lost, nothing that is read is too old."""

import asyncio

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deployments.errors import UnavailableError
from tests.deployments.embeddings.simulated import Cluster, SimulatedLoop

IDS = st.sampled_from([0, 1, 2, 1023, 1024, 2048, 2999, 77, 1101])
STALENESS_S = 1.0


class Faults(RuleBasedStateMachine):
    """Each addition to a row is another power of two, so that the row says which of them it has, each once."""

    @initialize(seed=st.integers(0, 2**32))
    def open(self, seed):
        self.loop = SimulatedLoop()
        self.cluster = Cluster(seed=seed)
        self.keeper = self.cluster.keeper()
        self.sent = dict.fromkeys(range(3000), 0)
        self.acknowledged = dict.fromkeys(range(3000), 0)
        self.history = []
        """When each addition was acknowledged: (row, bit, moment)."""
        self.do(self.keeper.open(3))
        self.writer = self.cluster.reader(self.keeper, self.loop, timeout_s=20.0)
        self.readers = [
            self.cluster.reader(self.keeper, self.loop, near=near, staleness_s=STALENESS_S)
            for near in (frozenset(), frozenset({0, 1, 4}))
        ]

    def do(self, work):
        return self.loop.run_until_complete(work)

    async def follow(self, seconds):
        tasks = [asyncio.ensure_future(reader.follow()) for reader in self.readers]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def add(self, ids):
        ids = sorted({row for row in ids if self.sent[row] < 2**22})
        bits = {row: self.sent[row] + 1 for row in ids}
        for row, bit in bits.items():
            self.sent[row] |= bit
        if not ids:
            return
        values = np.array([[bit] for bit in bits.values()], np.float32)
        await self.writer.change("add", np.array(ids), values)
        for row, bit in bits.items():
            self.acknowledged[row] |= bit
            self.history.append((row, bit, self.loop.time()))

    async def read(self, reader, ids):
        began = self.loop.time()
        rows = await reader.lookup(np.array(ids))
        for row, value in zip(ids, rows[:, 0].astype(int).tolist(), strict=True):
            must = sum({bit for at, bit, moment in self.history if at == row and moment < began - STALENESS_S})
            assert value & must == must, f"row {row} lacks what was acknowledged longer ago than the bound"
            assert value & ~self.sent[row] == 0, f"row {row} has what nobody sent"

    @rule(several=st.lists(st.lists(IDS, min_size=1, max_size=4), min_size=1, max_size=3))
    def add_at_once(self, several):
        async def all_of_them():
            await asyncio.gather(*(self.add(ids) for ids in several))

        self.do(all_of_them())

    @rule(which=st.integers(0, 1), several=st.lists(st.lists(IDS, min_size=1, max_size=4), min_size=1, max_size=3))
    def read_at_once(self, which, several):
        async def all_of_them():
            await asyncio.gather(*(self.read(self.readers[which], ids) for ids in several))

        self.do(all_of_them())

    @rule(seconds=st.floats(0.01, 3.0))
    def wait(self, seconds):
        self.do(self.follow(seconds))

    @rule(ids=st.lists(IDS, min_size=1, max_size=4), shard=st.integers(0, 4), steps=st.integers(1, 120))
    def kill_while_changed_and_read(self, ids, shard, steps):
        """The shard dies at the so-maniest step from now: of the change, of the repair, or a little later."""

        async def all_of_it():
            self.cluster.kill_at[self.cluster.calls + steps] = shard
            additions = asyncio.gather(self.add(ids), self.add(ids[:1]), return_exceptions=True)
            reads = asyncio.gather(*(self.read(reader, ids) for reader in self.readers))
            await asyncio.sleep(0.02)
            await self.keeper.heal()
            outcomes = await additions
            assert all(outcome is None or isinstance(outcome, UnavailableError) for outcome in outcomes), outcomes
            await reads
            while self.cluster.kill_at:
                await self.keeper.heal()
            await self.keeper.heal()

        self.do(all_of_it())

    @rule(num_shards=st.integers(2, 5), ids=st.lists(IDS, min_size=1, max_size=4))
    def move_while_changed_and_read(self, num_shards, ids):
        async def all_of_it():
            self.keeper.want(num_shards)
            moving = asyncio.ensure_future(self.keeper.heal())
            for _ in range(3):
                await asyncio.gather(self.add(ids), *(self.read(reader, ids) for reader in self.readers))
                await self.follow(0.01)
            await moving

        self.do(all_of_it())

    @rule()
    def keeper_starts_anew(self):
        shards = len(self.keeper.view().shards)
        self.keeper = self.cluster.keeper()
        self.do(self.keeper.open(shards))
        for each in (self.writer, *self.readers):
            each._newest_view = self.cluster.reader(self.keeper, self.loop)._newest_view

    @precondition(lambda self: hasattr(self, "keeper"))
    @invariant()
    def no_acknowledged_change_is_lost(self):
        async def look():
            ids = np.array([row for row, bits in self.acknowledged.items() if bits], np.int64)
            rows = await self.cluster.reader(self.keeper, self.loop, cache_rows=0).lookup(ids)
            for row, value in zip(ids.tolist(), rows[:, 0].astype(int).tolist(), strict=True):
                assert value & self.acknowledged[row] == self.acknowledged[row], f"row {row} lost what was acknowledged"
                assert value & ~self.sent[row] == 0
            assert self.keeper.health().lost_buckets == 0

        self.do(look())

    def teardown(self):
        if hasattr(self, "loop"):
            self.loop.close()


TestFaults = Faults.TestCase
TestFaults.settings = settings(
    max_examples=20, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)
