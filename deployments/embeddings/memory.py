"""The memory of a shard's rows: other processes of its node may map it, and read rows without a call.

    | life, serial, epoch, held | version of each row | row of each row |

Only the shard writes. A row's version says, by one bit, that the row is being written, and is another one after: who
sees the same version before and after has read a whole row. `serial` says the same of `held`, the buckets that the
shard answers for, and of the epoch of the view it does so by. That holds where stores are seen in the order they were
made in, as x86 does; elsewhere, and where the system has no memory without a name, the memory is the shard's own.
"""

import mmap
import os
import platform
import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.embeddings.owners import NUM_BUCKETS, Buckets

FILE_NAME = "trimtab-rows"
BEING_WRITTEN = np.uint64(1 << 63)
_PAGE = mmap.PAGESIZE
_HELD_AT = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a shard's memory is found on its node."""

    node: str
    """That of the processes that see `pid` as the same process; empty where the memory is the shard's own."""
    pid: int
    descriptor: int
    life: int
    """Written in the memory: a process that later has the same number has another."""


class Layout:
    """What lies where, for all that map the memory of `num_places` rows."""

    def __init__(self, num_places: int, width: int, dtype: np.dtype[Any]) -> None:
        self.row_bytes = width * dtype.itemsize
        self.versions_at = _PAGE
        self.rows_at = self.versions_at + _whole_pages(8 * num_places)
        self.size_bytes = self.rows_at + _whole_pages(num_places * self.row_bytes)
        self._num_places, self._width, self._dtype = num_places, width, dtype

    def header(self, memory: mmap.mmap) -> NDArray[np.uint64]:
        """Life, serial and epoch."""
        return np.frombuffer(memory, np.uint64, 3)

    def held(self, memory: mmap.mmap) -> NDArray[np.bool_]:
        """A flag for each bucket."""
        return np.frombuffer(memory, np.bool_, NUM_BUCKETS, _HELD_AT)

    def versions(self, memory: mmap.mmap) -> NDArray[np.uint64]:
        """[places]"""
        return np.frombuffer(memory, np.uint64, self._num_places, self.versions_at)

    def rows(self, memory: mmap.mmap) -> NDArray[Any]:
        """[places, width]"""
        flat = np.frombuffer(memory, self._dtype, self._num_places * self._width, self.rows_at)
        return flat.reshape(self._num_places, self._width)


class RowMemory:
    """Zeros that take memory a page at a time, as they are written (or read by others), and can give it back."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._descriptor = _new_file(layout.size_bytes) if node() else None
        kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS if self._descriptor is None else mmap.MAP_SHARED
        flags = kind | getattr(mmap, "MAP_NORESERVE", 0)
        self._memory = mmap.mmap(-1 if self._descriptor is None else self._descriptor, layout.size_bytes, flags=flags)
        self._header, self._held = layout.header(self._memory), layout.held(self._memory)
        self._header[0] = secrets.randbits(63)
        self.versions = layout.versions(self._memory)
        self.rows = layout.rows(self._memory)

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def address(self) -> Address:
        """Where others find it."""
        own = self._descriptor is None
        descriptor = -1 if self._descriptor is None else self._descriptor
        return Address(node="" if own else node(), pid=os.getpid(), descriptor=descriptor, life=int(self._header[0]))

    def hold(self, buckets: Buckets, epoch: int) -> None:
        """From now on others may read these buckets and no others."""
        self._header[1] += np.uint64(1)
        self._header[2] = epoch
        self._held[:] = False
        self._held[buckets] = True
        self._header[1] += np.uint64(1)

    def write(self, places: NDArray[np.int64], values: NDArray[Any], versions: NDArray[np.uint64]) -> None:
        """Put `values` and then `versions` there; until then nobody takes the rows for whole."""
        fitting = np.broadcast_to(values, (len(places), self.rows.shape[1])).astype(self.rows.dtype, copy=False)
        self.versions[places] |= BEING_WRITTEN
        self.rows[places] = fitting
        self.versions[places] = versions

    def clear(self, begin: int, end: int) -> None:
        """Make the rows of these places zeros again."""
        for at, each in ((self._layout.versions_at, 8), (self._layout.rows_at, self._layout.row_bytes)):
            self._clear(at + begin * each, at + end * each)

    def _clear(self, begin: int, end: int) -> None:
        first, last = _whole_pages(begin), end // _PAGE * _PAGE
        if first >= last:
            self._memory[begin:end] = bytes(end - begin)
            return
        self._memory.madvise(mmap.MADV_DONTNEED if self._descriptor is None else mmap.MADV_REMOVE, first, last - first)
        self._memory[begin:first] = bytes(first - begin)
        self._memory[last:end] = bytes(end - last)


@cache
def node() -> str:
    """Names those processes that this one can share memory with; empty where it can share none."""
    if platform.machine() not in ("x86_64", "AMD64") or not hasattr(os, "memfd_create"):
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _new_file(size_bytes: int) -> int:
    descriptor = os.memfd_create(FILE_NAME)
    os.ftruncate(descriptor, size_bytes)
    return descriptor


def _whole_pages(num_bytes: int) -> int:
    return -(-num_bytes // _PAGE) * _PAGE
