"""The rows that one process holds of a table, and a version of each; a bucket takes memory once it is written.

Rows of a bucket lie together, at a place that follows from the id, so that looking up is arithmetic and one gather.
"""

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from deployments.embeddings.memory import Address, Layout, RowMemory
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

    def layout(self) -> Layout:
        """What lies where in the memory of those that hold rows of it."""
        return Layout(NUM_BUCKETS * self.bucket_rows, self.width, DTYPES[self.dtype])

    def places_of(self, ids: Ids) -> NDArray[np.int64]:
        """Where each row lies there."""
        return bucket_of(ids) * self.bucket_rows + ids // NUM_BUCKETS

    def ids_of(self, bucket: int) -> Ids:
        """The rows of a bucket, in the order they lie in."""
        return np.arange(bucket, self.rows, NUM_BUCKETS, dtype=np.int64)


class Rows:
    """Rows and their versions: a row that was never changed has version 0."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._memory = RowMemory(table.layout())
        self.itemsize: int = self._memory.rows.itemsize

    def address(self) -> Address:
        """Where other processes of the node find them."""
        return self._memory.address()

    def hold(self, buckets: Buckets, epoch: int) -> None:
        """Let others read these buckets, and no others, by the view of `epoch`."""
        self._memory.hold(buckets, epoch)

    def read(self, ids: Ids) -> tuple[Values, Versions]:
        """A copy of the rows and of their versions."""
        places = self.table.places_of(ids)
        return self._memory.rows[places], self._memory.versions[places]

    def values(self, ids: Ids) -> Values:
        """A copy of the rows alone."""
        return self._memory.rows[self.table.places_of(ids)]

    def set(self, ids: Ids, values: Values, epoch: int) -> None:
        """Put `values` in place of the rows; no id may come twice."""
        places = self.table.places_of(ids)
        self._memory.write(places, values, self._next(places, epoch))

    def add(self, ids: Ids, values: Values, epoch: int) -> None:
        """Add `values` to the rows, in float32; no id may come twice."""
        places = self.table.places_of(ids)
        sums = self._memory.rows[places].astype(np.float32) + values
        self._memory.write(places, sums, self._next(places, epoch))

    def merge(self, ids: Ids, values: Values, versions: Versions) -> NDArray[np.bool_]:
        """Take what another copy has where it is newer, whatever the order it comes in; return where that is."""
        places = self.table.places_of(ids)
        newer = versions > self._memory.versions[places]
        self._memory.write(places[newer], values[newer], versions[newer])
        return newer

    def fill(self, ids: Ids, values: Values, versions: Versions | int = 0) -> NDArray[np.bool_]:
        """Take rows as they stand elsewhere, but for those that are newer here; return where they were taken."""
        places = self.table.places_of(ids)
        given = np.broadcast_to(np.asarray(versions, np.uint64), ids.shape)
        taken = given >= self._memory.versions[places]
        self._memory.write(places[taken], values[taken], given[taken])
        return taken

    def forget(self, buckets: Buckets) -> None:
        """Give the memory of `buckets` back."""
        size = self.table.bucket_rows
        for bucket in buckets.tolist():
            self._memory.clear(bucket * size, (bucket + 1) * size)

    def _next(self, places: NDArray[np.int64], epoch: int) -> Versions:
        # Whatever an earlier primary did and did not get to every copy is older than all that a later one does.
        newer: Versions = np.maximum(self._memory.versions[places] + np.uint64(1), np.uint64(epoch << 32))
        return newer
