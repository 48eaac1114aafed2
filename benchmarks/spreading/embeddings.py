"""Figures of tables on shards, read by this process from shards in a Ray cluster of its own.

Keys are drawn by Zipf's law with exponent 1.05, 1,000 a request, from 10^7 rows of 64 elements in float16; 10^6 where
one round is asked for. The reader is on the shards' node; another one reads as from another node (`far`), by calls and
a warm cache that has room for a fifth of the rows.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import psutil
import ray
from numpy.typing import NDArray

from benchmarks.throughput import Figures, Rounds
from deployments.embeddings.calls import RayShards
from deployments.embeddings.keeper_actor import RayKeeper
from deployments.embeddings.mapped import MappedTable
from deployments.embeddings.owners import Ids
from deployments.embeddings.reader import Reader
from deployments.embeddings.settings import EmbeddingSettings
from deployments.embeddings.table import Values

EXPONENT, KEYS, WIDTH, HIDDEN = 1.05, 1000, 64, 256
LOOKUPS = 300
IN_FLIGHT = 4
SLICES = 8
KILLS = 20
STALENESS_S = 1.0


def lookup_figures(rounds: Rounds) -> Figures:
    """Time of a look-up, and a recommender's rate over one whose table is its own: on the shards' node, and `far`.

    `ps_hit` is the share of keys in the cache of the far reader.
    """
    rows = 10**6 if rounds.rounds == 1 else 10**7
    return _in_cluster(_lookups(rows, rounds))


def fault_figures(_: Rounds) -> Figures:
    """Longest time until every reader sees a change, and acknowledged changes lost over kills of shards."""
    return _in_cluster(_faults())


@dataclass(frozen=True)
class _Opened:
    keeper: RayKeeper
    readers: list[Reader]


async def _lookups(rows: int, rounds: Rounds) -> Figures:
    settings = EmbeddingSettings(
        table="zipf", rows=rows, width=WIDTH, dtype="float16", initial="normal", cache_rows=rows // 5, timeout_s=120
    )
    random_keys = _Zipf(rows)
    async with _opened(settings, num_readers=2, num_far=1) as opened:
        near, far = opened.readers
        for begin in range(0, rows // 5, 20_000):
            await far.lookup(np.arange(begin, min(begin + 20_000, rows // 5), dtype=np.int64))
        table = np.concatenate([await near.lookup(part) for part in np.array_split(np.arange(rows), rows // 50_000)])
        far.counts.keys = far.counts.hits = 0
        lookup_s, far_lookup_s = await _lookup_s(near, random_keys), await _lookup_s(far, random_keys)
        hits = far.counts.hits / far.counts.keys

        async def local(ids: Ids) -> Values:
            return table[ids]

        ratios, far_ratios = [], []
        for _ in range(rounds.rounds):
            done = np.zeros(3)
            for _ in range(SLICES):  # in turn, so that all meet the same machine
                for index, lookup in enumerate((local, near.lookup, far.lookup)):
                    done[index] += await _requests(lookup, random_keys, rounds.seconds / SLICES)
            ratios.append(done[1] / done[0])
            far_ratios.append(done[2] / done[0])
    return {
        "ps_lookup_us": 1e6 * lookup_s,
        "ps_over_local": median(ratios),
        "ps_hit": hits,
        "ps_far_lookup_us": 1e6 * far_lookup_s,
        "ps_far_over_local": median(far_ratios),
    }


async def _lookup_s(reader: Reader, keys: "_Zipf") -> float:
    times = []
    for _ in range(LOOKUPS):
        ids = keys.draw()
        began = time.perf_counter()
        await reader.lookup(ids)
        times.append(time.perf_counter() - began)
    return median(times)


async def _requests(lookup: Callable[[Ids], Awaitable[Values]], keys: "_Zipf", seconds: float) -> int:
    """How many lists of 1,000 items a small recommender scores in `seconds`, some of them under way at once."""
    draw = np.random.default_rng(0)
    first, second = (draw.standard_normal(shape).astype(np.float32) / 8 for shape in ((WIDTH, HIDDEN), (HIDDEN, 1)))
    done = 0
    end = time.perf_counter() + seconds

    def scores(rows: Values) -> NDArray[Any]:
        found: NDArray[Any] = np.maximum(rows.astype(np.float32) @ first, 0) @ second
        return found

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await asyncio.to_thread(scores, await lookup(keys.draw()))
            done += 1

    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
    return done


async def _faults() -> Figures:
    settings = EmbeddingSettings(table="faults", rows=100_000, width=1, staleness_s=STALENESS_S, timeout_s=60)
    async with _opened(settings, num_readers=3, num_far=1) as opened:
        writer, *readers = opened.readers
        waited = [await _seconds_until_seen(writer, readers, row, row + 1.0) for row in range(20)]
        lost = await _lost(opened.keeper, writer)
    return {"ps_staleness_s": max(waited), "ps_lost": lost}


async def _seconds_until_seen(writer: Reader, readers: list[Reader], row: int, value: float) -> float:
    ids = np.array([row])
    for reader in readers:
        await reader.lookup(ids)
    await writer.change("set", ids, np.array([[value]], np.float32))
    began = time.perf_counter()
    for reader in readers:
        while (await reader.lookup(ids))[0, 0] != value:
            await asyncio.sleep(0.001)
    return time.perf_counter() - began


async def _lost(keeper: RayKeeper, writer: Reader) -> float:
    """Acknowledged additions that no copy has any more, or that were done twice."""
    acknowledged = np.zeros(100_000)
    pick = random.Random(0)
    is_over = False

    async def add() -> None:
        while not is_over:
            ids = np.array(pick.sample(range(1000, 100_000), 50))
            await writer.change("add", ids, np.ones((50, 1), np.float32))
            acknowledged[ids] += 1

    adding = [asyncio.ensure_future(add()) for _ in range(4)]
    for _ in range(KILLS):
        await asyncio.sleep(pick.random() / 2)
        before = (await keeper.health())["epoch"]
        pick.choice(_shards()).kill()
        while (health := await keeper.health())["epoch"] < before + 3 or not health["whole"]:
            await asyncio.sleep(0.05)
    is_over = True
    await asyncio.gather(*adding)
    ids = np.arange(1000, 100_000)
    return float(np.abs((await writer.lookup(ids))[:, 0] - acknowledged[ids]).sum())


def _shards() -> list[psutil.Process]:
    """The processes of this cluster's shards."""
    return [each for each in psutil.Process().children(recursive=True) if "ShardActor" in each.name() + _command(each)]


def _command(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return " ".join(process.cmdline())
    return ""


@asynccontextmanager
async def _opened(settings: EmbeddingSettings, num_readers: int, num_far: int = 0) -> AsyncIterator[_Opened]:
    """A table, and readers of it; the last `num_far` read as from another node."""
    keeper, table = RayKeeper(settings), settings.shape()
    near = [MappedTable(table) for _ in range(num_readers - num_far)] + [None] * num_far
    readers = [Reader(table, RayShards(table), keeper.view, settings.reading(), near=each) for each in near]
    running = [asyncio.ensure_future(task) for task in (keeper.renew(), *(each.follow() for each in readers))]
    while not (await keeper.health())["whole"]:
        await asyncio.sleep(0.2)
    try:
        yield _Opened(keeper, readers)
    finally:
        for task in running:
            task.cancel()


class _Zipf:
    def __init__(self, rows: int) -> None:
        weights = np.cumsum(np.arange(1, rows + 1, dtype=np.float64) ** -EXPONENT)
        self._shares = weights / weights[-1]
        self._random = np.random.default_rng(0)

    def draw(self) -> Ids:
        return np.searchsorted(self._shares, self._random.random(KEYS)).astype(np.int64)


def _in_cluster(measure: Coroutine[Any, Any, Figures]) -> Figures:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        return asyncio.run(measure)
    finally:
        ray.shutdown()
