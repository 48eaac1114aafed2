"""Which shards hold a row: rendezvous hashing, a form of consistent hashing (Thaler and Ravishankar 1998).

A row belongs to the bucket `id % NUM_BUCKETS`, so that neighbours, and the rows asked for most, lie apart; each bucket
ranks all shards by a hash of both. The first ranked hold it. When a shard goes, the next in rank takes its place in its
buckets alone; when one comes, it takes its share and nothing else moves.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

NUM_BUCKETS = 1024

Ids = NDArray[np.int64]
Buckets = NDArray[np.int64]
Holders = NDArray[np.int32]
"""Shards of each bucket, [buckets, copies]; NOBODY where one is missing."""

NOBODY = -1
_ANYWHERE: Mapping[int, str] = {}


def bucket_of(ids: Ids) -> Buckets:
    """The bucket of each row."""
    return ids % NUM_BUCKETS


def owners(shards: list[int], copies: int, nodes: Mapping[int, str] = _ANYWHERE) -> Holders:
    """The shards that should hold each bucket, best ranked first; on several nodes, where `nodes` says which.

    Raises:
        ValueError: there are fewer shards than copies.
    """
    if len(shards) < copies:
        raise ValueError(f"shards must be at least copies, {copies}, got {len(shards)}")
    buckets = mixed(np.arange(NUM_BUCKETS, dtype=np.uint64))
    numbers = np.array(sorted(shards), np.uint64)
    scores = mixed(buckets[:, None] ^ mixed(numbers + np.uint64(NUM_BUCKETS))).astype(np.float64)
    places = [nodes.get(shard, f"unknown {shard}") for shard in sorted(shards)]
    node = np.unique(places, return_inverse=True)[1]
    chosen = []
    for _ in range(copies):
        best = scores.argmax(axis=1)
        chosen.append(numbers[best].astype(np.int32))
        scores[node == node[best][:, None]] -= 2.0**65  # after all of other nodes
        scores[np.arange(NUM_BUCKETS), best] = -np.inf
    return np.stack(chosen, axis=1)


def mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each number's bits well mixed, the same on every machine (splitmix64, Steele 2014)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
