"""Looks rows up and changes them, for one process: batched, each row once, all shards asked at the same time.

    ids -> memory of shards on this node -> the others: each once -> hot rows -> their shards, at once -> rows

What is read from a shard's memory is as it is there. Rows that are kept are never older than `staleness_s`: every shard
is asked for what has changed a few times within it, and what a shard gave is not used once it has not answered for so
long. All methods belong to one event loop.
"""

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.embeddings.kept_rows import Flags, KeptRows
from deployments.embeddings.mapped import MappedTable
from deployments.embeddings.meters import ReaderMeter
from deployments.embeddings.owners import NOBODY, Holders, Ids, bucket_of, mixed
from deployments.embeddings.shard import Change, Found, Kind, Shards
from deployments.embeddings.table import DTYPES, Table, Values
from deployments.embeddings.view import ShardGoneError, StaleViewError, View
from deployments.errors import RequestError, UnavailableError
from telemetry.emitting.trace import Asked

LOOKS_PER_BOUND = 4
"""How often news are asked for within the bound of staleness."""
TRY_AGAIN_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a process reads a table."""

    staleness_s: float
    """Rows that are kept are used for at most so long after a change elsewhere was acknowledged."""
    cache_rows: int
    """Rows that are kept; 0 keeps none."""
    ttl_s: float | None = None
    """Seconds after which a row is fetched again though it has not changed."""
    default_row: int | None = None
    """The row that unknown ids get; without it they are an error."""
    timeout_s: float = 10.0
    """Seconds within which shards must answer, others in their place included."""


class Reader:
    """A table, as one process sees it."""

    def __init__(
        self,
        table: Table,
        shards: Shards,
        view: Callable[[], Awaitable[View]],
        reading: Reading,
        clock: Callable[[], float] = time.monotonic,
        near: MappedTable | None = None,
        meter: ReaderMeter | None = None,
    ) -> None:
        """`view` asks the keeper who holds what; `near` reads from the memory of shards on this node; `meter` reports
        what is looked up."""
        self.table = table
        self._meter = meter or ReaderMeter(table.name)
        self.counts = self._meter.counts
        self._shards = shards
        self._newest_view = view
        self._reading = reading
        self._clock = clock
        self._view: View | None = None
        self._viewed = -np.inf
        self._tokens = (secrets.randbits(63) << 32 | count for count in itertools.count())
        self._kept: KeptRows | None = None
        if reading.cache_rows:
            self._kept = KeptRows(
                table, reading.cache_rows, clock, staleness_s=reading.staleness_s, ttl_s=reading.ttl_s
            )
        self._near = near
        self._looking = asyncio.Lock()

    async def lookup(self, ids: Ids) -> Values:
        """The rows of `ids`, whatever their shape: [*ids, width].

        Raises:
            RequestError: an id is unknown, and the table has no row for those.
            UnavailableError: the shards do not answer in time.
        """
        start_ns = time.time_ns()
        flat = self._known(ids.ravel())
        self.counts.keys += len(flat)
        if self._near is None:
            rows = await self._lookup_far(flat)
        else:
            if self._view is None:
                await self._in_time(self._current(), "looked up")
            rows, missing = self._near.read(flat)
            far = np.flatnonzero(missing)
            self.counts.near += len(flat) - len(far)
            if len(far):
                self._look_for_near()
                rows[far] = await self._lookup_far(flat[far])
        self._meter.looked_up(start_ns)
        return rows.reshape(*ids.shape, self.table.width)

    async def _lookup_far(self, ids: Ids) -> Values:
        """The rows of `ids`, from the cache or by calls."""
        each, inverse, count = np.unique(ids, return_inverse=True, return_counts=True)
        rows = np.empty((len(each), self.table.width), DTYPES[self.table.dtype])
        missing = np.ones(len(each), np.bool_)
        if self._kept is not None:
            here, kept = self._kept.get(each)
            rows[here] = kept
            missing &= ~here
        self.counts.hits += int(count[~missing].sum())
        if missing.any():
            await self._in_time(self._fetch(each, rows, missing), "looked up")
        return rows[inverse]

    async def change(
        self, kind: Kind, ids: Ids, values: Values, *, learning_rate: float = 0.0, token: int | None = None
    ) -> None:
        """Set rows, add to them, or go a step against gradients; when it returns, every copy has it. Of an id that
        comes twice the last is set, or all are summed first.

        A `token` marks what may be asked for again by someone who does not know whether it was done.

        Raises:
            RequestError: an id is unknown.
            UnavailableError: it was not acknowledged in time, and may have been done or not.
        """
        self._check(ids)
        each, rows = _once(kind, ids, values)
        token = next(self._tokens) if token is None else token
        await self._in_time(self._change(token, kind, each, rows, learning_rate), "changed for certain")
        if self._kept is not None:
            self._kept.drop(each)

    async def follow(self) -> None:
        """Ask for news until cancelled, so that rows that are kept may be used."""
        while True:
            await self.hear()
            await asyncio.sleep(self._reading.staleness_s / LOOKS_PER_BOUND)

    async def hear(self) -> None:
        """Ask every shard whose rows are kept what has changed, once, and look whether those of this node live."""
        self._look_for_near()
        if self._kept is None:
            return
        asked_at = self._clock()
        known = self._kept.positions()
        told = await asyncio.gather(*(self._soon(shard, "news", position) for shard, position in known.items()))
        for shard, news in zip(known, told, strict=True):
            self._kept.hear(shard, news, asked_at)
        if self._view is not None and self._kept.epoch > self._view.epoch:
            self._view = None

    async def _soon(self, shard: int, method: str, *arguments: Any) -> Any:
        """What the shard answers; none where it does not within the bound of staleness."""
        try:
            async with asyncio.timeout(self._reading.staleness_s):
                return await self._try(shard, method, *arguments)
        except TimeoutError:
            return None

    async def _fetch(self, ids: Ids, rows: Values, missing: Flags) -> None:
        """Fill in the `missing` ones of `rows`."""
        refused: set[int] = set()
        while missing.any():
            view = await self._current()
            holders = _holders(view, ids, refused)
            if (holders[missing] == NOBODY).any():
                refused.clear()
                await self._look_again(view)
                continue
            asked_at = self._clock()
            asked = {
                shard: np.flatnonzero(missing & (holders == shard)) for shard in np.unique(holders[missing]).tolist()
            }
            told = await asyncio.gather(*(self._ask(shard, ids[some]) for shard, some in asked.items()))
            for (shard, some), found in zip(asked.items(), told, strict=True):
                if found is None:
                    refused.add(shard)
                    continue
                rows[some] = found.values
                missing[some] = False
                if self._kept is not None:
                    self._kept.put(shard, ids[some], found, asked_at)

    async def _change(self, token: int, kind: Kind, ids: Ids, values: Values, learning_rate: float) -> None:
        left = np.ones(len(ids), np.bool_)
        while left.any():
            view = await self._current()
            primaries = view.primaries[bucket_of(ids)]
            shards = [shard for shard in np.unique(primaries[left]).tolist() if shard != NOBODY]
            parts = [np.flatnonzero(left & (primaries == shard)) for shard in shards]
            changes = [
                Change(token=token, kind=kind, ids=ids[part], values=values[part], learning_rate=learning_rate)
                for part in parts
            ]
            done = await asyncio.gather(*map(self._try, shards, ["change"] * len(shards), changes))
            for part, is_done in zip(parts, done, strict=True):
                left[part] = not is_done
            if left.any():
                await self._look_again(view)

    async def _ask(self, shard: int, ids: Ids) -> Found | None:
        """Rows of a shard, asked for as a part of the request they are for."""
        asked = Asked(f"ask shard {shard} of {self.table.name}")
        found: Found | None = None
        try:
            found = await self._try(shard, "lookup", ids, asked.passed)
        finally:
            asked.ended(error=None if found is not None else "it did not answer")
        return found

    async def _try(self, shard: int, method: str, *arguments: Any) -> Any:
        """What the shard answers; none where it is gone, or goes by another view."""
        try:
            return await self._shards.call(shard, method, *arguments)
        except (ShardGoneError, StaleViewError):
            return None

    async def _current(self) -> View:
        if self._view is None:
            async with self._looking:
                while self._view is None:
                    try:
                        view = await self._newest_view()
                    except (ShardGoneError, UnavailableError):
                        await asyncio.sleep(TRY_AGAIN_S)
                    else:
                        await self._map(view)
                        self._view, self._viewed = view, self._clock()
        return self._view

    def _look_for_near(self) -> None:
        """Ask the keeper anew, though not all the time, where shards of this node have gone or come."""
        is_due = self._clock() >= self._viewed + self._reading.staleness_s / LOOKS_PER_BOUND
        if self._near is not None and is_due and not self._near.is_current():
            self._view = None

    async def _map(self, view: View) -> None:
        """Map the shards of `view` that are on this node; those that do not answer yet are called meanwhile."""
        if self._near is None:
            return
        shards = self._near.unmapped(view)
        told = await asyncio.gather(*(self._soon(shard, "address") for shard in shards))
        self._near.follow(view, dict(zip(shards, told, strict=True)))

    async def _look_again(self, view: View) -> None:
        if self._view is view:
            self._view = None
        await asyncio.sleep(TRY_AGAIN_S)

    async def _in_time(self, work: Coroutine[Any, Any, object], done: str) -> None:
        try:
            async with asyncio.timeout(self._reading.timeout_s):
                await work
        except TimeoutError as error:
            raise UnavailableError(
                f"rows of table {self.table.name!r} must be {done} within {self._reading.timeout_s:g} s: "
                "shards are being replaced; try again"
            ) from error

    def _known(self, ids: Ids) -> Ids:
        """`ids`, with the default row in place of those that are unknown."""
        if self._reading.default_row is None:
            self._check(ids)
            return ids
        return np.where((ids >= 0) & (ids < self.table.rows), ids, self._reading.default_row)

    def _check(self, ids: Ids) -> None:
        unknown = ids[(ids < 0) | (ids >= self.table.rows)]
        if len(unknown):
            raise RequestError(
                f"ids of table {self.table.name!r} must lie in [0, {self.table.rows}), got {int(unknown[0])}"
            )


def _holders(view: View, ids: Ids, refused: set[int]) -> Holders:
    """The shard to ask for each row: of its holders that have not refused the one this process likes best, so that few
    are asked at once; or nobody."""
    holders = view.holders[bucket_of(ids)]
    usable = ~np.isin(holders, [*refused, NOBODY])
    liked = np.where(usable, _liking(holders), -1)
    chosen = np.take_along_axis(holders, liked.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(usable.any(axis=1), chosen, NOBODY)


def _liking(shards: Holders) -> NDArray[np.int64]:
    """From 0, how much this process likes each shard: others like others."""
    return (mixed(shards.astype(np.uint64) ^ np.uint64(os.getpid() << 16)) >> np.uint64(2)).astype(np.int64)


def _once(kind: Kind, ids: Ids, values: Values) -> tuple[Ids, Values]:
    """Each id once: the last of its rows, or their sum."""
    if kind == "set":
        each, last = np.unique(ids[::-1], return_index=True)
        return each, values[::-1][last].astype(np.float32)
    each, inverse = np.unique(ids, return_inverse=True)
    sums = np.zeros((len(each), values.shape[1]), np.float32)
    np.add.at(sums, inverse, values.astype(np.float32))
    return each, sums
