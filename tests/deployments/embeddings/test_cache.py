"""The rows that are kept beside a model."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deployments.embeddings.cache import WAYS, RowCache
from deployments.embeddings.table import Table

TABLE = Table(name="items", rows=10**6, width=2)
VALID = np.full(1, -np.inf)


def put(cache, ids, fetched=0.0):
    cache.put(
        np.array(ids, np.int64),
        np.array([[each, -each] for each in ids]).reshape(-1, 2),
        np.zeros(len(ids), np.int32),
        fetched,
    )


def get(cache, ids, valid_from=VALID):
    here, rows = cache.get(np.array(ids, np.int64), valid_from)
    return dict(zip(np.array(ids)[here].tolist(), rows[:, 0].astype(int).tolist(), strict=True))


@given(st.lists(st.tuples(st.sampled_from(["put", "drop", "get"]), st.lists(st.integers(0, 60), unique=True))))
def test_it_gives_what_was_put_or_nothing(steps):
    cache, kept = RowCache(TABLE, 32), set()
    for step, ids in steps:
        if step == "put":
            put(cache, ids)
            kept |= set(ids)
        elif step == "drop":
            cache.drop(np.array(ids, np.int64))
            kept -= set(ids)
        else:
            found = get(cache, ids)
            assert all(found[each] == each and each in kept for each in found)


def test_the_row_that_was_not_used_for_longest_gives_way():
    cache = RowCache(TABLE, WAYS)  # one set
    put(cache, list(range(WAYS)))
    get(cache, [0])
    put(cache, [100])
    assert 0 in get(cache, [0])
    assert len(get(cache, list(range(WAYS)))) == WAYS - 1


def test_rows_of_one_set_that_come_at_once_take_places_of_their_own():
    cache = RowCache(TABLE, WAYS)
    put(cache, list(range(WAYS)))
    assert len(get(cache, list(range(WAYS)))) == WAYS


def test_what_a_shard_gave_before_a_moment_is_not_used():
    cache = RowCache(TABLE, 32)
    put(cache, [1], fetched=1.0)
    put(cache, [2], fetched=3.0)
    assert get(cache, [1, 2], np.array([2.0])) == {2: 2}
