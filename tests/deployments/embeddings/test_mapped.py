"""Rows that are read from the memory of a shard on the same node."""

import os
import subprocess
import sys

import numpy as np
import pytest

from deployments.embeddings import view
from deployments.embeddings.mapped import MappedShard, MappedTable
from deployments.embeddings.memory import BEING_WRITTEN, Address, node
from deployments.embeddings.owners import owners
from deployments.embeddings.table import Rows, Table

pytestmark = pytest.mark.skipif(not node(), reason="memory is shared where stores are seen in order, as on x86 Linux")

TABLE = Table(name="items", rows=3000, width=16)
ALL = np.arange(1024)
WRITER = """
import sys
import numpy as np
from deployments.embeddings.table import Rows
from tests.deployments.embeddings.test_mapped import ALL, TABLE
rows, ids, number = Rows(TABLE), np.arange(3000), 0
rows.hold(ALL, 1)
address = rows.address()
print(address.pid, address.descriptor, address.life, flush=True)
while True:
    number += 1
    rows.set(ids, np.full((3000, 16), number, np.float32), 1)
"""


def held(ids=ALL, rows=None):
    rows = rows or Rows(TABLE)
    rows.hold(np.asarray(ids), 1)
    return rows


def read(shard, ids):
    rows, good = shard.read(np.array(ids))
    return [row[0] if is_good else None for row, is_good in zip(rows.tolist(), good, strict=True)]


def test_rows_of_another_process_are_whole_while_it_writes_them_and_not_read_once_it_ended():
    writer = subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True)
    try:
        pid, descriptor, life = map(int, writer.stdout.readline().split())
        shard = MappedShard(TABLE, Address(node=node(), pid=pid, descriptor=descriptor, life=life))
        ids, seen, num_good = np.random.default_rng(0).integers(0, 3000, 300), set(), 0
        while len(seen) < 20:
            rows, good = shard.read(ids)
            num_good += good.sum()
            assert (rows[good] == rows[good][:, :1]).all()
            seen |= set(rows[good][:, 0].tolist())
        assert num_good
    finally:
        writer.kill()
        writer.wait()
    assert not shard.lives()
    assert not shard.read(ids)[1].any()


def test_a_row_that_is_being_written_is_not_read():
    rows = held()
    rows.set(np.array([5, 6]), np.ones((2, 16), np.float32), 1)
    shard = MappedShard(TABLE, rows.address())
    assert read(shard, [5, 6]) == [1, 1]
    rows._memory.versions[TABLE.places_of(np.array([5]))] |= BEING_WRITTEN
    assert read(shard, [5, 6]) == [None, 1]


def test_buckets_that_the_shard_gave_up_are_not_read():
    rows = held()
    shard = MappedShard(TABLE, rows.address())
    assert read(shard, [1, 2, 1025]) == [0, 0, 0]
    held([2], rows)
    assert read(shard, [1, 2, 1025]) == [None, 0, None]


def test_nothing_is_read_where_the_view_changed_meanwhile():
    rows = held()
    shard = MappedShard(TABLE, rows.address())
    copied = shard._copied

    def slow(places):
        held(rows=rows)
        return copied(places)

    shard._copied = slow
    assert read(shard, [1]) == [None]


def test_values_that_do_not_fit_leave_rows_as_they_were():
    rows = held()
    with pytest.raises(ValueError, match="broadcast"):
        rows.set(np.array([1]), np.ones((1, 3), np.float32), 1)
    assert read(MappedShard(TABLE, rows.address()), [1]) == [0]


@pytest.mark.parametrize(
    "wrong", [{"life": 1}, {"descriptor": 10**6}, {"pid": 2**22 + 1}, {"descriptor": 0}], ids=lambda wrong: str(wrong)
)
def test_another_process_in_its_place_or_none_is_refused(wrong):
    right = held().address()
    address = {"node": node(), "pid": os.getpid(), "descriptor": right.descriptor, "life": right.life} | wrong
    with pytest.raises(OSError):
        MappedShard(TABLE, Address(**address))


def test_memory_of_another_size_is_refused():
    rows = held()
    with pytest.raises(OSError, match="another size"):
        MappedShard(Table(name="items", rows=30_000, width=16), rows.address())


def test_shards_elsewhere_are_left_to_calls():
    here, there = held(), held()
    elsewhere = Address(node="another", pid=1, descriptor=3, life=1)
    table = MappedTable(TABLE)
    first = view.first((0, 1), owners([0, 1], 1))
    assert table.unmapped(first) == [0, 1]
    table.follow(first, {0: here.address(), 1: elsewhere})
    missing = table.read(ALL)[1]
    assert (missing == (first.primaries == 1)).all() and 0 < missing.sum() < 1024
    assert table.unmapped(first) == [1]
    assert table.is_current()
    table.follow(first, {1: None})
    assert not table.is_current()
    table.follow(first, {1: there.address()})
    assert table.is_current() and not table.read(ALL)[1].any()
    held(rows=there)
    there.hold(ALL, 2)
    assert not table.is_current()
