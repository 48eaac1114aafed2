"""Rows and the versions of them that one process holds."""

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.embeddings.table import Rows, Table

TABLE = Table(name="items", rows=2500, width=3)


@given(
    changes=st.lists(
        st.tuples(st.sampled_from(["set", "add"]), st.lists(st.integers(0, 2499), unique=True), st.integers(-8, 8))
    )
)
def test_rows_are_what_a_dictionary_would_hold(changes):
    rows, expected = Rows(TABLE), np.zeros((2500, 3), np.float32)
    for kind, ids, number in changes:
        at, values = np.array(ids, np.int64), np.full((len(ids), 3), number, np.float32)
        getattr(rows, kind)(at, values, epoch=1)
        expected[at] = values if kind == "set" else expected[at] + values
    assert np.array_equal(rows.values(np.arange(2500)), expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rows_are_held_in_their_type_and_added_in_float32(dtype):
    rows = Rows(Table(name="items", rows=10, width=1, dtype=dtype))
    ids = np.array([3])
    rows.set(ids, np.array([[1.0]], np.float32), epoch=1)
    rows.add(ids, np.array([[0.5]], np.float32), epoch=1)
    found = rows.values(ids)
    assert found.dtype.name == dtype
    assert found.item() == 1.5


def test_copies_agree_in_whatever_order_changes_arrive():
    primary, ids = Rows(TABLE), np.array([5, 6])
    sent = []
    for number in range(3):
        primary.set(ids, np.full((2, 3), number, np.float32), epoch=1)
        sent.append(primary.read(ids))
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 2, 0]):
        copy = Rows(TABLE)
        for index in order:
            copy.merge(ids, *sent[index])
        assert np.array_equal(copy.values(ids), primary.values(ids))


def test_what_an_earlier_primary_did_to_one_copy_alone_gives_way_to_a_later_one():
    """It changed its own copy and one other, twice, and was deposed before the third had it."""
    earlier, stays, later, ids = Rows(TABLE), Rows(TABLE), Rows(TABLE), np.array([5])
    for number in (1, 2):
        earlier.set(ids, np.full((1, 3), number, np.float32), epoch=1)
        stays.merge(ids, *earlier.read(ids))
    later.set(ids, np.full((1, 3), 9, np.float32), epoch=2)
    stays.merge(ids, *later.read(ids))
    assert np.array_equal(stays.values(ids), later.values(ids))


def test_a_row_that_changed_meanwhile_is_not_overwritten_by_a_bucket_that_is_copied():
    source, target, ids = Rows(TABLE), Rows(TABLE), np.array([0, 1024])
    source.set(ids, np.ones((2, 3), np.float32), epoch=1)
    copied = source.read(ids)
    source.set(ids[:1], np.full((1, 3), 2, np.float32), epoch=1)
    target.merge(ids[:1], *source.read(ids[:1]))
    target.fill(ids, *copied)
    assert np.array_equal(target.values(ids), source.values(ids))


def test_memory_is_taken_as_rows_are_written_and_given_back_as_buckets_go():
    rows = Rows(Table(name="items", rows=10_000_000, width=64, dtype="float16"))
    process, before = psutil.Process(), psutil.Process().memory_info().rss
    ids = rows.table.ids_of(7)
    big = np.concatenate([rows.table.ids_of(bucket) for bucket in range(16)])
    rows.set(big, np.ones((len(big), 64), np.float32), epoch=1)
    taken = process.memory_info().rss
    assert taken - before < 150 * 2**20
    rows.forget(np.arange(16))
    assert process.memory_info().rss < taken - 15 * 2**20
    assert not rows.values(ids).any() and not rows.read(ids)[1].any()
