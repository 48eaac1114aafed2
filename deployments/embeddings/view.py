"""Who holds what at present: the keeper makes views, one after the other, and shards and readers go by them."""

from dataclasses import dataclass, replace

import numpy as np

from deployments.embeddings.owners import NOBODY, NUM_BUCKETS, Buckets, Holders


class StaleViewError(Exception):
    """A shard was asked for what it does not hold, by someone whose view is another's: look again, and try again."""


class ShardGoneError(Exception):
    """A shard does not answer any more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """The shards of each bucket. A later one has a higher epoch."""

    epoch: int
    shards: tuple[int, ...]
    holders: Holders
    """Those that have the bucket whole; the first of them decides on changes."""
    joining: Holders
    """Those that are being given it: changes reach them, they are not asked yet."""

    @property
    def primaries(self) -> Holders:
        """The shard that decides on changes of each bucket."""
        return self.holders[:, 0]

    def copies(self) -> Holders:
        """All shards that every change must reach, [buckets, holders and joining]."""
        return np.concatenate((self.holders, self.joining), axis=1)

    def held_by(self, shard: int) -> Buckets:
        """The buckets that `shard` holds whole."""
        return np.flatnonzero((self.holders == shard).any(axis=1))

    def known_to(self, shard: int) -> Buckets:
        """The buckets that `shard` holds or is given."""
        return np.flatnonzero((self.copies() == shard).any(axis=1))

    def without(self, gone: set[int]) -> "View":
        """The next view, after `gone` have gone: the second copy decides where the first was theirs."""
        left = tuple(shard for shard in self.shards if shard not in gone)
        holders = _left(self.holders, gone)
        return View(epoch=self.epoch + 1, shards=left, holders=holders, joining=nobody(holders))

    def with_joining(self, wanted: Holders, shards: tuple[int, ...]) -> "View":
        """The next view, on the way to where `wanted` hold the buckets: those of them who do not yet, join."""
        missing = ~(wanted[:, :, None] == self.holders[:, None, :]).any(axis=2)
        joining = np.where(missing, wanted, NOBODY).astype(np.int32)
        return replace(self, epoch=self.epoch + 1, shards=shards, joining=joining)

    def settled(self, wanted: Holders, shards: tuple[int, ...]) -> "View":
        """The next view, where `wanted` hold the buckets and nobody joins."""
        return View(epoch=self.epoch + 1, shards=shards, holders=wanted, joining=nobody(wanted))


def first(shards: tuple[int, ...], holders: Holders) -> View:
    """The first view of a table."""
    return View(epoch=1, shards=shards, holders=holders, joining=nobody(holders))


def nobody(like: Holders) -> Holders:
    """No shard for any bucket."""
    return np.full_like(like, NOBODY)


def _left(holders: Holders, gone: set[int]) -> Holders:
    """`holders` but for `gone`, those that are left first."""
    left = np.where(np.isin(holders, list(gone)), NOBODY, holders)
    order = np.argsort(left == NOBODY, axis=1, kind="stable")
    kept: Holders = np.take_along_axis(left, order, axis=1)
    assert kept.shape[0] == NUM_BUCKETS
    return kept
