"""The rows that one process holds of a table, and a version of each; a bucket takes memory once it is written.

Rows of a bucket lie together, at a place that follows from the id, so that looking up is arithmetic and one gather.
"""

import mmap
from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deployments.embeddings.owners import NUM_BUCKETS, Buckets, Ids, bucket_of

Dtype = Literal["float32", "float16", "bfloat16"]
Values = NDArray[Any]
"""Rows, [ids, width]."""
Versions = NDArray[np.uint64]
"""Which of two copies of a row is newer: the epoch of the view it was changed in, and how often it was since."""

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
_PAGE = mmap.PAGESIZE


@dataclass(frozen=True, kw_only=True)
class Table:
    """What all that hold or read a table agree on."""

    name: str
    rows: int
    """Ids are 0 to rows - 1."""
    width: int
    dtype: Dtype = "float32"

    @property
    def bucket_rows(self) -> int:
        """Places for rows in each bucket; the last of some stay empty."""
        return -(-self.rows // NUM_BUCKETS)

    def ids_of(self, bucket: int) -> Ids:
        """The rows of a bucket, in the order they lie in."""
        return np.arange(bucket, self.rows, NUM_BUCKETS, dtype=np.int64)


class Rows:
    """Rows and their versions: a row that was never changed has version 0."""

    def __init__(self, table: Table) -> None:
        self.table = table
        places = NUM_BUCKETS * table.bucket_rows
        self._values = _Zeros(places * table.width, DTYPES[table.dtype])
        self._versions = _Zeros(places, np.dtype(np.uint64))
        self._rows = self._values.array.reshape(places, table.width)
        self.itemsize: int = self._rows.itemsize

    def read(self, ids: Ids) -> tuple[Values, Versions]:
        """A copy of the rows and of their versions."""
        places = self._places(ids)
        return self._rows[places], self._versions.array[places]

    def values(self, ids: Ids) -> Values:
        """A copy of the rows alone."""
        return self._rows[self._places(ids)]

    def set(self, ids: Ids, values: Values, epoch: int) -> None:
        """Put `values` in place of the rows; no id may come twice."""
        places = self._places(ids)
        self._rows[places] = values
        self._count(places, epoch)

    def add(self, ids: Ids, values: Values, epoch: int) -> None:
        """Add `values` to the rows, in float32; no id may come twice."""
        places = self._places(ids)
        self._rows[places] = self._rows[places].astype(np.float32) + values
        self._count(places, epoch)

    def merge(self, ids: Ids, values: Values, versions: Versions) -> NDArray[np.bool_]:
        """Take what another copy has where it is newer, whatever the order it comes in; return where that is."""
        places = self._places(ids)
        newer = versions > self._versions.array[places]
        self._rows[places[newer]] = values[newer]
        self._versions.array[places[newer]] = versions[newer]
        return newer

    def fill(self, ids: Ids, values: Values, versions: Versions | int = 0) -> NDArray[np.bool_]:
        """Take rows as they stand elsewhere, but for those that are newer here; return where they were taken."""
        places = self._places(ids)
        given = np.broadcast_to(np.asarray(versions, np.uint64), ids.shape)
        taken = given >= self._versions.array[places]
        self._rows[places[taken]] = values[taken]
        self._versions.array[places[taken]] = given[taken]
        return taken

    def forget(self, buckets: Buckets) -> None:
        """Give the memory of `buckets` back."""
        size = self.table.bucket_rows
        for bucket in buckets.tolist():
            self._values.clear(bucket * size * self.table.width, (bucket + 1) * size * self.table.width)
            self._versions.clear(bucket * size, (bucket + 1) * size)

    def _count(self, places: NDArray[np.int64], epoch: int) -> None:
        # Whatever an earlier primary did and did not get to every copy is older than all that a later one does.
        self._versions.array[places] = np.maximum(self._versions.array[places] + np.uint64(1), np.uint64(epoch << 32))

    def _places(self, ids: Ids) -> NDArray[np.int64]:
        return bucket_of(ids) * self.table.bucket_rows + ids // NUM_BUCKETS


class _Zeros:
    """Zeros that take memory a page at a time, as they are written, and can give it back."""

    def __init__(self, count: int, dtype: np.dtype[Any]) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        self._memory = mmap.mmap(-1, max(count * dtype.itemsize, 1), flags=flags)
        self.array: NDArray[Any] = np.frombuffer(self._memory, dtype, count)

    def clear(self, begin: int, end: int) -> None:
        size = self.array.itemsize
        first, last = -(-begin * size // _PAGE) * _PAGE, end * size // _PAGE * _PAGE
        if first >= last:
            self.array[begin:end] = 0
            return
        self._memory.madvise(mmap.MADV_DONTNEED, first, last - first)
        self.array[begin : first // size] = 0
        self.array[last // size : end] = 0
