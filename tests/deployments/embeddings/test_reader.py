"""Looking up and changing rows, as one process does."""

import asyncio

import numpy as np
import pytest

from deployments.embeddings.owners import owners
from deployments.embeddings.table import Table
from deployments.errors import RequestError, UnavailableError
from tests.deployments.embeddings.simulated import Cluster, SimulatedLoop, run

TABLE = Table(name="items", rows=3000, width=2)


def opened(work, num_shards=3, **reading):
    """Run `work(cluster, keeper, reader)` in simulated time."""
    loop = SimulatedLoop()

    async def all_of_it():
        cluster = Cluster(TABLE)
        keeper = cluster.keeper()
        await keeper.open(num_shards)
        return await work(cluster, keeper, cluster.reader(keeper, loop, **reading))

    return run(all_of_it(), loop)


def test_each_row_is_asked_for_once_and_given_wherever_it_was_asked_for():
    async def work(cluster, _, reader):
        await reader.change("set", np.array([1, 2]), np.array([[1, 1], [2, 2]], np.float32))
        asked = []
        call = cluster.call

        async def counting(shard, method, *arguments):
            asked.extend(arguments[0].tolist() if method == "lookup" else [])
            return await call(shard, method, *arguments)

        cluster.call = counting
        rows = await reader.lookup(np.array([[1, 2, 1], [0, 1, 2]]))
        assert rows[:, :, 0].tolist() == [[1, 2, 1], [0, 1, 2]]
        assert sorted(asked) == [0, 1, 2]
        assert (reader.counts.keys, reader.counts.hits) == (6, 0)
        await reader.lookup(np.array([1, 1, 5]))
        assert sorted(asked) == [0, 1, 2, 5]
        assert (reader.counts.keys, reader.counts.hits) == (9, 2)

    opened(work)


def test_of_an_id_that_comes_twice_the_last_is_set_and_all_are_added():
    async def work(_, __, reader):
        ids, values = np.array([4, 9, 4]), np.array([[1, 1], [2, 2], [3, 3]], np.float32)
        await reader.change("set", ids, values)
        assert (await reader.lookup(np.array([4, 9])))[:, 0].tolist() == [3, 2]
        await reader.change("add", ids, values)
        assert (await reader.lookup(np.array([4, 9])))[:, 0].tolist() == [7, 4]

    opened(work)


def test_unknown_ids_are_an_error_or_the_default_row():
    async def refused(_, __, reader):
        for ids in ([3000], [-1]):
            with pytest.raises(RequestError, match=rf"must lie in \[0, 3000\), got {ids[0]}"):
                await reader.lookup(np.array(ids))
            with pytest.raises(RequestError, match="must lie in"):
                await reader.change("set", np.array(ids), np.zeros((1, 2), np.float32))

    async def replaced(_, __, reader):
        await reader.change("set", np.array([0]), np.array([[5, 5]], np.float32))
        assert (await reader.lookup(np.array([-7, 3000, 1])))[:, 0].tolist() == [5, 5, 0]
        with pytest.raises(RequestError, match="must lie in"):
            await reader.change("set", np.array([3000]), np.zeros((1, 2), np.float32))

    opened(refused)
    opened(replaced, default_row=0)


def test_a_row_that_is_kept_is_fetched_anew_once_it_changed_elsewhere():
    async def work(cluster, keeper, reader):
        writer = cluster.reader(keeper, asyncio.get_running_loop())
        await reader.lookup(np.array([1]))
        following = asyncio.ensure_future(reader.follow())
        await writer.change("set", np.array([1]), np.array([[8, 8]], np.float32))
        await asyncio.sleep(1.0)
        assert (await reader.lookup(np.array([1])))[0, 0] == 8
        following.cancel()

    opened(work, staleness_s=1.0)


def test_rows_are_not_kept_longer_than_the_bound_where_their_shard_tells_no_news():
    async def work(cluster, keeper, reader):
        await reader.lookup(np.array([1]))
        await asyncio.sleep(0.5)
        await reader.lookup(np.array([1]))
        assert reader.counts.hits == 1
        await asyncio.sleep(0.6)
        await reader.lookup(np.array([1]))
        assert reader.counts.hits == 1

    opened(work, staleness_s=1.0)


def test_an_answer_that_is_older_than_the_news_is_not_kept():
    """It was read, then the row changed, then that was told, then the answer came."""

    async def work(cluster, keeper, reader):
        await reader.lookup(np.array([1]))
        shard = int(keeper.view().primaries[1])
        call, held = cluster.call, asyncio.Event()

        async def slow(to, method, *arguments):
            answer = await call(to, method, *arguments)
            if method == "lookup":
                await held.wait()
            return answer

        cluster.call = slow
        late = asyncio.ensure_future(reader.lookup(np.array([1025])))  # of the same bucket
        await asyncio.sleep(0.1)
        cluster.call = call
        writer = cluster.reader(keeper, asyncio.get_running_loop())
        await writer.change("set", np.array([1025]), np.array([[8, 8]], np.float32))
        await reader.hear()
        held.set()
        assert (await late)[0, 0] == 0
        assert shard == int(keeper.view().primaries[1025 % 1024])
        assert (await reader.lookup(np.array([1025])))[0, 0] == 8

    opened(work, staleness_s=5.0)


def test_rows_that_moved_are_not_taken_from_where_they_were():
    """The shard that held them tells no more of their changes."""

    async def work(cluster, keeper, reader):
        moved = next(
            bucket
            for bucket in range(1024)
            if not set(owners([0, 1, 2], 2)[bucket]) & set(owners([0, 1, 2, 3, 4, 5], 2)[bucket])
        )
        await reader.lookup(np.array([moved]))
        keeper.want(6)
        await keeper.heal()
        writer = cluster.reader(keeper, asyncio.get_running_loop())
        await writer.change("set", np.array([moved]), np.array([[8, 8]], np.float32))
        await reader.hear()
        assert (await reader.lookup(np.array([moved])))[0, 0] == 8

    opened(work, staleness_s=100.0)


def test_what_is_not_acknowledged_in_time_is_told():
    async def work(cluster, _, reader):
        cluster.kill(0)
        cluster.kill(1)
        cluster.kill(2)
        with pytest.raises(UnavailableError, match="must be looked up within 3 s"):
            await reader.lookup(np.array([1]))
        with pytest.raises(UnavailableError, match="must be changed for certain within 3 s"):
            await reader.change("set", np.array([1]), np.zeros((1, 2), np.float32))

    opened(work, timeout_s=3.0)


def test_rows_are_read_while_a_shard_is_gone_and_not_yet_replaced():
    async def work(cluster, _, reader):
        ids = np.arange(3000)
        await reader.change("set", ids, np.stack([ids, ids], axis=1).astype(np.float32))
        cluster.kill(1)
        assert np.array_equal((await reader.lookup(ids))[:, 0], ids)

    opened(work, timeout_s=3.0, cache_rows=0)


def test_rows_on_the_same_node_are_read_without_a_call_and_are_never_stale():
    async def work(cluster, keeper, reader):
        near = cluster.reader(keeper, asyncio.get_running_loop(), near=frozenset({0, 1, 2}))
        assert (await near.lookup(np.array([[1, 1], [7, 2]])))[:, :, 0].tolist() == [[0, 0], [0, 0]]
        await reader.change("add", np.array([1, 2]), np.ones((2, 2), np.float32))
        calls = cluster.calls
        assert (await near.lookup(np.array([[1, 1], [7, 2]])))[:, :, 0].tolist() == [[1, 1], [0, 1]]
        assert cluster.calls == calls
        assert (near.counts.keys, near.counts.near, near.counts.hits) == (8, 8, 0)

    opened(work)


def test_a_shard_of_the_same_node_that_died_is_called_no_more_and_the_one_in_its_place_is_mapped():
    async def work(cluster, keeper, reader):
        ids = np.arange(3000)
        near = cluster.reader(keeper, asyncio.get_running_loop(), near=frozenset({0, 1, 2}), cache_rows=0)
        await near.lookup(ids)
        cluster.kill(1)
        assert not (await near.lookup(ids)).any()
        assert near.counts.near < 6000
        await keeper.heal()
        await reader.change("set", ids, np.ones((3000, 2), np.float32))
        await asyncio.sleep(1)
        assert (await near.lookup(ids)).all()
        before = near.counts.near
        assert (await near.lookup(ids)).all()
        assert near.counts.near - before == 3000

    opened(work)
