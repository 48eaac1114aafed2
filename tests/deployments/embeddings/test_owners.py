"""Which shards hold a row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.embeddings.owners import NUM_BUCKETS, owners

SHARDS = st.lists(st.integers(0, 500), min_size=2, max_size=12, unique=True)


@given(shards=SHARDS, copies=st.integers(1, 2))
def test_copies_lie_on_different_shards_in_even_parts(shards, copies):
    held = owners(shards, copies)
    assert set(np.unique(held).tolist()) <= set(shards)
    assert all(len(set(row)) == copies for row in held.tolist())
    shares = [(held[:, 0] == shard).mean() * len(shards) for shard in shards]
    assert max(shares) < 1.8 and min(shares) > 0.5


@given(shards=SHARDS, new=st.integers(501, 900))
def test_a_shard_that_comes_takes_its_share_and_nothing_else_moves(shards, new):
    before, after = owners(shards, 2), owners([*shards, new], 2)
    for old, now in zip(before.tolist(), after.tolist(), strict=True):
        assert now == old or new in now
        assert set(now) - {new} <= set(old)
    share = 2 / (len(shards) + 1)
    assert (after == new).any(axis=1).mean() < 1.5 * share


@given(shards=st.lists(st.integers(0, 500), min_size=3, max_size=12, unique=True))
def test_where_a_shard_goes_the_second_copy_comes_first(shards):
    before, after = owners(shards, 2), owners(shards[1:], 2)
    gone = before[:, 0] == shards[0]
    assert (after[gone, 0] == before[gone, 1]).all()


def test_copies_lie_on_several_nodes_where_there_are_several():
    nodes = {0: "a", 1: "a", 2: "a", 3: "b"}
    held = owners([0, 1, 2, 3], 2, nodes)
    assert all({nodes[first], nodes[second]} == {"a", "b"} for first, second in held.tolist())
    assert len(owners([0, 1, 2], 2, nodes)) == NUM_BUCKETS


def test_fewer_shards_than_copies_are_refused():
    with pytest.raises(ValueError, match="shards must be at least copies, 2, got 1"):
        owners([0], 2)
