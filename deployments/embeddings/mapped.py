"""Reads rows of shards on the same node from their memory: no call, no copy kept, no staleness.

What is read is what the shard would have answered: it holds the row by its view, the row is whole, and the process
lives, all of it once the row was read. Where one of these fails, the shard is called.
"""

import mmap
import os
import select
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployments.embeddings.memory import BEING_WRITTEN, FILE_NAME, Address, node
from deployments.embeddings.owners import NOBODY, NUM_BUCKETS, Ids, bucket_of
from deployments.embeddings.table import DTYPES, Table, Values
from deployments.embeddings.view import View

TRIES = 3
"""How often a row is read again that is being written."""

Flags = NDArray[np.bool_]


class MappedShard:
    """The rows of one shard, as another process of its node sees them."""

    def __init__(self, table: Table, address: Address) -> None:
        """Map them.

        Raises:
            OSError: the shard has gone, or its memory is out of reach.
        """
        self._table, layout = table, table.layout()
        self._process = os.pidfd_open(address.pid)
        self._ended = select.poll()
        self._ended.register(self._process, select.POLLIN)
        memory = _mapped(Path(f"/proc/{address.pid}/fd/{address.descriptor}"), layout.size_bytes)
        self._header, self._held = layout.header(memory), layout.held(memory)
        self._versions, self._rows = layout.versions(memory), layout.rows(memory)
        if int(self._header[0]) != address.life:
            raise OSError(f"process {address.pid} is another one than the shard was")

    def __del__(self) -> None:
        with suppress(AttributeError):  # it was not even opened
            os.close(self._process)

    def lives(self) -> bool:
        """Whether its process does."""
        return not self._ended.poll(0)

    def epoch(self) -> int:
        """That of the view it goes by."""
        return int(self._header[2])

    def read(self, ids: Ids) -> tuple[Values, Flags]:
        """A copy of the rows, and which of them are to be trusted."""
        serial = int(self._header[1])
        places = self._table.places_of(ids)
        rows, good = self._copied(places)
        for _ in range(TRIES):
            if good.all():
                break
            torn = np.flatnonzero(~good)
            rows[torn], good[torn] = self._copied(places[torn])
        good &= self._held[bucket_of(ids)]
        if serial % 2 or int(self._header[1]) != serial or not self.lives():
            good[:] = False
        return rows, good

    def _copied(self, places: NDArray[np.int64]) -> tuple[Values, Flags]:
        before = self._versions.take(places)
        rows = self._rows.take(places, axis=0)
        after = self._versions.take(places)
        return rows, (before == after) & (after < BEING_WRITTEN)


class MappedTable:
    """What of a table can be read so."""

    def __init__(self, table: Table, open_shard: Callable[[Table, Address], MappedShard] = MappedShard) -> None:
        self._table = table
        self._open = open_shard
        self._shards: dict[int, MappedShard] = {}
        self._shard_of = np.full(NUM_BUCKETS, NOBODY, np.int32)
        self._is_complete = False
        self._epoch = 0

    def unmapped(self, view: View) -> list[int]:
        """The shards of `view` whose address must be known to `follow` it."""
        return [shard for shard in view.shards if shard not in self._shards or not self._shards[shard].lives()]

    def follow(self, view: View, addresses: dict[int, Address | None]) -> None:
        """Read from those shards of `view` that are on this node; no address where a shard did not answer."""
        kept = {shard: self._shards[shard] for shard in view.shards if shard in self._shards and shard not in addresses}
        self._shards = kept
        for shard, address in addresses.items():
            if address is not None and address.node and address.node == node():
                with suppress(OSError):  # gone meanwhile, or out of reach: it is called
                    self._shards[shard] = self._open(self._table, address)
        self._is_complete = None not in addresses.values()
        self._epoch = view.epoch
        near = np.isin(view.holders, list(self._shards))
        lowest = np.where(near, view.holders, np.iinfo(np.int32).max).min(axis=1)  # of few shards, in few reads
        self._shard_of = np.where(near.any(axis=1), lowest, NOBODY).astype(np.int32)

    def is_current(self) -> bool:
        """Whether all shards were found, and those that are mapped live and go by the view still."""
        return self._is_complete and all(
            shard.epoch() == self._epoch and shard.lives() for shard in self._shards.values()
        )

    def read(self, ids: Ids) -> tuple[Values, Flags]:
        """The rows of `ids`, and which of them are missing."""
        rows = np.empty((len(ids), self._table.width), DTYPES[self._table.dtype])
        missing = np.ones(len(ids), np.bool_)
        shard_of = self._shard_of[bucket_of(ids)]
        for shard, mapped in self._shards.items():
            some = np.flatnonzero(shard_of == shard)
            if len(some) == len(ids):
                rows, good = mapped.read(ids)
                return rows, ~good
            rows[some], good = mapped.read(ids[some])
            missing[some] = ~good
        return rows, missing


def _mapped(path: Path, size_bytes: int) -> mmap.mmap:
    if not str(path.readlink()).startswith(f"/memfd:{FILE_NAME}"):
        raise OSError(f"{path} is no memory of rows")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size != size_bytes:
            raise OSError(f"{path} has another size than the table's rows")
        return mmap.mmap(descriptor, size_bytes, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
