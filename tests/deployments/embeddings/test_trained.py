"""Gradients on the shards: what torch's own optimizers do, once, in every copy."""

import asyncio

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.embeddings.table import Table
from deployments.embeddings.trained import TrainedTable
from tests.deployments.embeddings.simulated import Cluster, SimulatedLoop, run

TABLE = Table(name="items", rows=2500, width=3)
OPTIMIZERS = {"sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad}


def trained(work, snapshots=None, *, seed=0, begins="normal"):
    """The result of `work`, given a cluster of three shards, its keeper and a table to train."""
    loop = SimulatedLoop()

    async def all_of_it():
        cluster = Cluster(TABLE, seed=seed, begins=begins)
        keeper = cluster.keeper(snapshots=snapshots)
        await keeper.open(3)
        reader = cluster.reader(keeper, loop, cache_rows=0)
        return await work(cluster, keeper, TrainedTable(reader, keeper))

    return run(all_of_it(), loop)


def batches(number, seed=0):
    """Ids, some of them several times, and gradients."""
    random = np.random.default_rng(seed)
    for _ in range(number):
        ids = random.choice([0, 3, 7, 1024, 2499], 12)
        yield ids, random.standard_normal((12, 3)).astype(np.float32)


def by_torch(kind, rows, steps, learning_rate):
    """The rows after torch's optimizer has taken these steps with sparse gradients."""
    weights = torch.nn.Parameter(torch.from_numpy(rows.copy()))
    optimizer = OPTIMIZERS[kind]([weights], lr=learning_rate)
    for ids, gradients in steps:
        weights.grad = torch.sparse_coo_tensor(
            torch.from_numpy(ids)[None], torch.from_numpy(gradients), weights.shape, check_invariants=True
        )
        optimizer.step()
    return weights.detach().numpy()


async def push(table, steps, kind, learning_rate=0.1, first=0):
    for token, (ids, gradients) in enumerate(steps, first):
        await table.push(token, ids, gradients, optimizer=kind, learning_rate=learning_rate)


ALL = np.arange(TABLE.rows)

pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_rows_become_what_torch_makes_of_them_with_sparse_gradients(kind):
    async def work(_, __, table):
        before = await table.rows(ALL)
        await push(table, batches(20), kind)
        return before, await table.rows(ALL)

    before, after = trained(work)
    assert np.allclose(after, by_torch(kind, before, batches(20), 0.1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_copy_has_each_acknowledged_gradient_and_what_the_optimizer_keeps(kind):
    """Whichever shard dies between two steps, the others go on as if it had not."""

    async def work(cluster, keeper, table):
        before = await table.rows(ALL)
        for number, step in enumerate(batches(9)):
            await push(table, [step], kind, first=number)
            cluster.kill(number % 3)
            await keeper.heal()
        return before, await table.rows(ALL)

    before, after = trained(work)
    assert np.allclose(after, by_torch(kind, before, batches(9), 0.1), rtol=1e-5, atol=1e-6)


@settings(max_examples=8)
@given(
    kind=st.sampled_from(sorted(OPTIMIZERS)),
    seed=st.integers(0, 2**32),
    kills=st.lists(st.tuples(st.integers(1, 200), st.integers(0, 2)), max_size=4),
)
def test_a_gradient_is_applied_once_though_shards_die_and_it_is_pushed_again(kind, seed, kills):
    """Two push the same gradients, each in their order: what one finds done, the other's shard may not have told."""

    async def work(cluster, keeper, table):
        before = await table.rows(ALL)

        async def heal():
            while True:
                await asyncio.sleep(0.05)
                await keeper.heal()

        healing = asyncio.ensure_future(heal())
        begin = cluster.calls
        for step, shard in kills:
            cluster.kill_at = {begin + step: shard}  # one at a time: two copies must not die at once
            await asyncio.gather(*(push(table, batches(4), kind) for _ in range(2)))
            while cluster.kill_at:
                await asyncio.sleep(0.05)
                await table.rows(ALL[:1])
            await keeper.heal()
            begin = cluster.calls
        await push(table, batches(4), kind)
        healing.cancel()
        assert keeper.health().lost_buckets == 0
        return before, await table.rows(ALL)

    before, after = trained(work, seed=seed)
    assert np.allclose(after, by_torch(kind, before, batches(4), 0.1), rtol=1e-5, atol=1e-6)


def test_adagrad_goes_on_from_a_snapshot_as_if_it_had_not_stopped(tmp_path):
    steps = list(batches(8))

    async def first(_, __, table):
        before = await table.rows(ALL)
        await push(table, steps[:4], "adagrad")
        await table.snapshot()
        return before

    async def second(_, __, table):
        await push(table, steps[4:], "adagrad")
        return await table.rows(ALL)

    before = trained(first, str(tmp_path))
    after = trained(second, str(tmp_path))
    assert np.allclose(after, by_torch("adagrad", before, steps, 0.1), rtol=1e-5, atol=1e-6)


def test_what_the_optimizer_keeps_moves_with_the_rows_to_other_shards():
    async def work(_, keeper, table):
        before = await table.rows(ALL)
        for number, (num_shards, step) in enumerate(zip((4, 5, 2, 3), batches(4), strict=True)):
            await push(table, [step], "adagrad", first=number)
            keeper.want(num_shards)
            await keeper.heal()
        return before, await table.rows(ALL)

    before, after = trained(work)
    assert np.allclose(after, by_torch("adagrad", before, batches(4), 0.1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_copies_keep_the_newest_sums_in_whatever_order_they_arrive(seed):
    """All steps are alike, so that the result says how many of them are in the sums of the shard that decides next."""
    ids, gradients = np.arange(40), np.ones((40, 3), np.float32)

    async def work(cluster, keeper, table):
        before = await table.rows(ALL)
        pushes = (table.push(token, ids, gradients, optimizer="adagrad", learning_rate=0.1) for token in range(6))
        await asyncio.gather(*pushes)
        cluster.kill(seed % 3)
        await keeper.heal()
        await push(table, [(ids, gradients)], "adagrad", first=6)
        return before, await table.rows(ALL)

    before, after = trained(work, seed=seed)
    assert np.allclose(after, by_torch("adagrad", before, [(ids, gradients)] * 7, 0.1), rtol=1e-5, atol=1e-6)
