"""Rows of a table that one process keeps, and until when they may be used."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deployments.embeddings.cache import RowCache
from deployments.embeddings.changes import Position
from deployments.embeddings.owners import Ids
from deployments.embeddings.shard import Found, News
from deployments.embeddings.table import Table, Values

Flags = NDArray[np.bool_]


class KeptRows:
    """The cache, and until when what each shard gave may be used."""

    def __init__(
        self, table: Table, rows: int, clock: Callable[[], float], *, staleness_s: float, ttl_s: float | None
    ) -> None:
        """Keeps that many `rows`; of one that changed elsewhere, at most `staleness_s`, and of any, `ttl_s`."""
        self.epoch = 0
        """That of the views by which its rows were given."""
        self._clock = clock
        self._staleness_s = staleness_s
        self._ttl_s = ttl_s
        self._cache = RowCache(table, rows)
        self._positions: dict[int, Position] = {}
        self._heard: dict[int, float] = {}
        """When each shard was asked for the news that it told last."""
        self._forgotten = np.full(1, -np.inf)
        """Nothing that each shard was asked for before this moment is used."""

    def positions(self) -> dict[int, Position]:
        """How far the news of each shard are known."""
        return dict(self._positions)

    def get(self, ids: Ids) -> tuple[Flags, Values]:
        """Which of `ids` are here and may be used, and their rows."""
        now = self._clock()
        valid_from = np.full(len(self._forgotten), np.inf)
        oldest = now - self._ttl_s if self._ttl_s is not None else -np.inf
        for shard, heard in self._heard.items():
            if heard >= now - self._staleness_s:
                valid_from[shard] = max(self._forgotten[shard], oldest)
        return self._cache.get(ids, valid_from)

    def put(self, shard: int, ids: Ids, found: Found, asked_at: float) -> None:
        """Keep what `shard` gave, unless its later news were heard already."""
        self._reach(found.epoch, shard)
        if found.epoch < self.epoch:
            return
        position = self._positions.get(shard)
        if position is None:
            self._positions[shard], self._heard[shard] = found.position, asked_at
        elif position.life != found.position.life or found.position.number < position.number:
            return
        self._cache.put(ids, found.values, np.full(len(ids), shard, np.int32), asked_at)

    def hear(self, shard: int, news: News | None, asked_at: float) -> None:
        """Take the news of `shard`; without any, nothing of it may be used."""
        if news is None or news.changed is None:
            self._forget(shard)
            return
        if self._reach(news.epoch, shard):
            return
        if shard in self._positions:
            self._cache.drop(news.changed)
            self._positions[shard], self._heard[shard] = news.position, asked_at

    def drop(self, ids: Ids) -> None:
        """Forget these rows."""
        self._cache.drop(ids)

    def _reach(self, epoch: int, shard: int) -> bool:
        """Forget all at a new epoch: rows may have moved, so that their changes are told elsewhere."""
        if shard >= len(self._forgotten):
            self._forgotten = np.pad(self._forgotten, (0, shard + 1 - len(self._forgotten)), constant_values=-np.inf)
        if epoch <= self.epoch:
            return False
        self.epoch = epoch
        self._positions.clear()
        self._heard.clear()
        self._cache.clear()
        return True

    def _forget(self, shard: int) -> None:
        self._positions.pop(shard, None)
        self._heard.pop(shard, None)
        self._forgotten[shard] = np.nextafter(self._clock(), np.inf)
