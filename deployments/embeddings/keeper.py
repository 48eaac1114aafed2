"""Keeps a table whole: starts its shards, replaces those that have gone, moves buckets, has snapshots taken.

    look -> gone? end it for sure -> the other copies decide -> a new one joins, is given its buckets -> settled

It decides alone who holds what. What it knows lies with the shards as well: a keeper that starts anew asks them.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deployments.embeddings import snapshot, view
from deployments.embeddings.owners import NOBODY, Holders, owners
from deployments.embeddings.shard import Shards
from deployments.embeddings.snapshot import PartFile, SnapshotError
from deployments.embeddings.table import Table
from deployments.embeddings.view import ShardGoneError, StaleViewError, View
from deployments.errors import UnavailableError

logger = logging.getLogger(__name__)

TRIES = 5
"""How often a table is settled anew, where shards go meanwhile."""


class Fleet(Shards, Protocol):
    """Starts shards, calls them, and ends them."""

    async def start(self, shard: int) -> None:
        """Let there be such a shard; one that runs stays as it is."""

    async def end(self, shard: int) -> None:
        """It is gone for sure when this returns, though it may have seemed so before."""

    async def lives(self, shard: int) -> bool:
        """Whether it answers, and has a view to go by."""

    async def nodes(self, shards: tuple[int, ...]) -> dict[int, str]:
        """Where those that run are: copies of a row should lie on several nodes."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """How a table is."""

    epoch: int
    shards: tuple[int, ...]
    whole: bool
    """Whether each row has all its copies."""
    lost_buckets: int
    """Buckets that lost all copies at once, and went back to the last snapshot, or to where the table began."""
    last_snapshot: str | None
    snapshot_problem: str | None


class Keeper:
    """Decides for one table; its work is done one piece at a time."""

    def __init__(self, table: Table, fleet: Fleet, *, copies: int, snapshots: str | None = None) -> None:
        self._table = table
        self._fleet = fleet
        self._copies = copies
        self._snapshots = snapshots
        self._view: View | None = None
        self._wanted: tuple[int, ...] = ()
        self._leaving: set[int] = set()
        self._all_know = True
        """Whether every shard has heard of the view."""
        self._lost = 0
        self._last_snapshot: str | None = None
        self._snapshot_problem: str | None = None
        self._working = asyncio.Lock()

    def view(self) -> View:
        """Who holds what.

        Raises:
            UnavailableError: the table is not loaded yet.
        """
        if self._view is None:
            raise UnavailableError(f"table {self._table.name!r} is being loaded: try again")
        return self._view

    def health(self) -> Health:
        """How the table is."""
        now = self.view()
        return Health(
            epoch=now.epoch,
            shards=now.shards,
            whole=bool((now.holders != NOBODY).all()),
            lost_buckets=self._lost,
            last_snapshot=self._last_snapshot,
            snapshot_problem=self._snapshot_problem,
        )

    async def open(self, num_shards: int) -> None:
        """Take over the shards that run, or start `num_shards` and load them.

        Raises:
            SnapshotError, SettingsError: the rows cannot be read.
        """
        async with self._working:
            self._wanted = shards = tuple(range(num_shards))
            self._view = await self._known(shards)
            if self._view is None:
                await asyncio.gather(*(self._fleet.start(shard) for shard in shards))
                first = view.first(shards, await self._owners(shards))
                self._last_snapshot = await self._newest()
                await self._load(first.holders, self._last_snapshot)
                await asyncio.gather(*(self._fleet.call(shard, "adopt", first) for shard in shards))
                self._view = first
        await self.heal()

    async def heal(self) -> bool:
        """Replace the shards that have gone, and settle the table if it is not; return whether that was needed.

        Raises:
            UnavailableError: shards go again and again meanwhile.
        """
        async with self._working:
            for _ in range(TRIES):
                gone = await self._gone()
                wanted = await self._owners(self._wanted)
                if not gone and self._all_know and np.array_equal(self.view().holders, wanted):
                    return False
                try:
                    await self._settle(gone, self._wanted)
                except (ShardGoneError, StaleViewError) as error:
                    logger.warning("table %r: %s; it is settled anew", self._table.name, error)
                else:
                    return True
            raise UnavailableError(f"table {self._table.name!r} was not settled in {TRIES} tries: shards go meanwhile")

    def want(self, num_shards: int) -> None:
        """Let the next `heal` spread the table over so many shards, while it serves.

        Raises:
            ValueError: they are fewer than the copies.
        """
        if num_shards < self._copies:
            raise ValueError(f"shards must be at least copies, {self._copies}, got {num_shards}")
        self._wanted = tuple(range(num_shards))

    async def snapshot(self) -> str:
        """Have every shard write what it decides on; return where.

        Raises:
            SnapshotError: it could not be written, or the table is not whole; `health` tells it as well.
        """
        async with self._working:
            if self._snapshots is None:
                raise SnapshotError(f"table {self._table.name!r} has no place for snapshots: name one (snapshots)")
            into = snapshot.folder(self._snapshots, self._table)
            try:
                told = await asyncio.gather(*(self._saved(shard, into) for shard in self.view().shards))
                parts = [part for parts in told for part in parts]
                await asyncio.to_thread(snapshot.complete, into, self._table, parts)
            except (SnapshotError, ShardGoneError) as error:
                self._snapshot_problem = str(error)
                await asyncio.to_thread(snapshot.discard, into)
                raise SnapshotError(str(error)) from error
            self._last_snapshot, self._snapshot_problem = into, None
            return into

    async def _saved(self, shard: int, into: str) -> list[PartFile]:
        buckets = np.flatnonzero(self.view().primaries == shard)
        parts: list[PartFile] = await self._fleet.call(shard, "save", into, buckets)
        return parts

    async def _known(self, shards: tuple[int, ...]) -> View | None:
        """The newest view that a shard goes by."""
        found: View | None = None
        looked: set[int] = set()
        while shards:
            for shard in shards:
                try:
                    told: View | None = await self._fleet.call(shard, "current")
                except ShardGoneError:
                    continue
                if told is not None and (found is None or told.epoch > found.epoch):
                    found = told
            looked |= set(shards)
            shards = tuple(set(found.shards) - looked) if found else ()
        return found

    async def _owners(self, shards: tuple[int, ...]) -> Holders:
        return owners(list(shards), self._copies, await self._fleet.nodes(shards))

    async def _gone(self) -> set[int]:
        shards = self.view().shards
        alive = await asyncio.gather(*(self._fleet.lives(shard) for shard in shards))
        return {shard for shard, lives in zip(shards, alive, strict=True) if not lives}

    async def _settle(self, gone: set[int], shards: tuple[int, ...]) -> None:
        if gone:
            logger.warning("table %r: shards %s have gone and are replaced", self._table.name, sorted(gone))
            await asyncio.gather(*(self._fleet.end(shard) for shard in gone))
            await self._go_by(self.view().without(gone), frozenset(gone))
        await self._end_leaving()
        await asyncio.gather(*(self._fleet.start(shard) for shard in shards))
        wanted = await self._owners(shards)
        everyone = tuple(sorted({*self.view().shards, *shards}))
        await self._go_by(self.view().with_joining(wanted, everyone))
        await self._restore()
        await self._copy()
        self._leaving = set(everyone) - set(shards)
        await self._go_by(self.view().settled(wanted, shards))
        await self._end_leaving()

    async def _end_leaving(self) -> None:
        await asyncio.gather(*(self._fleet.end(shard) for shard in self._leaving))
        self._leaving = set()

    async def _restore(self) -> None:
        """Give buckets that nobody holds to those who join, as they last were known."""
        now = self.view()
        lost = now.primaries == NOBODY
        if not lost.any():
            return
        newest = await self._newest()
        logger.error(
            "table %r: %d buckets lost all copies at once and go back to %s; later changes of them are lost",
            self._table.name,
            lost.sum(),
            newest or "where they began",
        )
        holders = np.where(lost[:, None], now.joining, NOBODY).astype(np.int32)
        await self._load(holders, newest)
        self._lost += int(lost.sum())
        kept = np.where(lost[:, None], now.joining, now.holders).astype(np.int32)
        joining = np.where(lost[:, None], NOBODY, now.joining).astype(np.int32)
        await self._go_by(View(epoch=now.epoch + 1, shards=now.shards, holders=kept, joining=joining))

    async def _load(self, holders: Holders, newest: str | None) -> None:
        """Let `holders` load what they hold."""
        held = {shard: np.flatnonzero((holders == shard).any(axis=1)) for shard in np.unique(holders).tolist()}
        held.pop(NOBODY, None)
        await asyncio.gather(*(self._fleet.call(shard, "load", buckets, newest) for shard, buckets in held.items()))

    async def _copy(self) -> None:
        """Let primaries give buckets to those who join."""
        now = self.view()
        pairs = {
            (source, target)
            for sources, targets in zip(now.primaries.tolist(), now.joining.tolist(), strict=True)
            for source, target in ((sources, each) for each in targets)
            if target != NOBODY
        }
        copies = []
        for source, target in sorted(pairs):
            buckets = np.flatnonzero((now.primaries == source) & (now.joining == target).any(axis=1))
            copies.append(self._fleet.call(source, "copy_to", target, buckets))
        await asyncio.gather(*copies)

    async def _go_by(self, new: View, gone: frozenset[int] = frozenset()) -> None:
        """Let `new` hold. It is decided before anyone hears of it: a shard that has heard may have forgotten rows.

        Those who give something up hear it first: nobody may decide, or be asked, once another decides.
        """
        before, self._view, self._all_know = self.view(), new, False
        deposed = before.primaries[before.primaries != new.primaries]
        first = {shard for shard in before.shards if len(np.setdiff1d(before.held_by(shard), new.held_by(shard)))}
        first = (first | set(deposed.tolist())) - gone - {NOBODY}
        await asyncio.gather(*(self._fleet.call(shard, "adopt", new) for shard in sorted(first)))
        await asyncio.gather(*(self._fleet.call(shard, "adopt", new) for shard in sorted(set(new.shards) - first)))
        self._all_know = True

    async def _newest(self) -> str | None:
        if self._snapshots is None:
            return None
        return await asyncio.to_thread(snapshot.newest, self._snapshots, self._table)
