"""Points of several series in one compressed block: lossless, as columns of differences.

    ids, points of each, times (ms), values (mean, and lowest and highest where a point stands for a minute)
    or, of histograms, a column for each bucket and one for the sum

Whole numbers are kept as differences within their series in as few bytes as hold them, others as the bits that differ
from the number before (Pelkonen et al. 2015, "Gorilla", VLDB 8(12)); each column's bytes are put together by rank, then
zstd takes all. Its checksum tells damage.
"""

import struct
from dataclasses import dataclass, replace

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

from telemetry.storage.layout import Layout

Ids = NDArray[np.int64]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LEVEL = 3
EXACT = 2.0**53
"""Up to here a float holds every whole number."""

_WHOLE = (np.int8, np.int16, np.int32, np.int64)
_LENGTH = struct.Struct("<I")
_ARRAY = struct.Struct("<IB")


class DamagedBlockError(Exception):
    """A block is not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Points by series, then by time; all arrays have a row for each point."""

    ids: Ids
    times_ms: Ints
    columns: tuple[Floats, ...]
    """Numbers: value, or mean, lowest and highest of a minute. Histograms: the sum of the values."""
    counts: Ints | None = None
    """Of histograms: (points, buckets)."""
    layout: Layout | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def taken(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "Block":
        """Some of the points."""
        return replace(
            self,
            ids=self.ids[rows],
            times_ms=self.times_ms[rows],
            columns=tuple(column[rows] for column in self.columns),
            counts=None if self.counts is None else self.counts[rows],
        )

    def ordered(self) -> "Block":
        """By series, then by time; of points with one time the last to come."""
        if not len(self):
            return self
        order = np.argsort(self.ids, kind="stable")  # of blocks that follow each other this is all there is to do
        ids, times = self.ids[order], self.times_ms[order]
        if np.any((times[1:] < times[:-1]) & (ids[1:] == ids[:-1])):
            order = np.lexsort((self.times_ms, self.ids))
            ids, times = self.ids[order], self.times_ms[order]
        last = np.append((ids[1:] != ids[:-1]) | (times[1:] != times[:-1]), True)
        return self.taken(order if last.all() else order[last])


def joined(blocks: list[Block]) -> Block:
    """The points of several blocks of one kind and layout, in order."""
    first = blocks[0]
    if len(blocks) == 1:
        return first.ordered()
    counts = [block.counts for block in blocks if block.counts is not None]
    return Block(
        ids=np.concatenate([block.ids for block in blocks]),
        times_ms=np.concatenate([block.times_ms for block in blocks]),
        columns=tuple(np.concatenate(columns) for columns in zip(*(block.columns for block in blocks), strict=True)),
        counts=np.concatenate(counts) if counts else None,
        layout=first.layout,
    ).ordered()


def encoded(block: Block) -> bytes:
    """The block's bytes; it must be ordered."""
    starts = starts_of(block.ids)
    layout = block.layout
    head = {
        "columns": len(block.columns),
        "layout": layout and [layout.indexes, layout.bounds, layout.scale, layout.unit],
    }
    parts = [_packed(block.ids[starts]), _packed(np.diff(np.append(starts, len(block.ids))))]
    parts += _differences(block.times_ms, starts)
    for column in block.columns:
        parts += _numbers(column, starts)
    if block.counts is not None:
        parts += _differences(block.counts, starts)
    written = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    raw = b"".join([_LENGTH.pack(len(written)), written, *parts])
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(raw)


def decoded(compressed: bytes) -> Block:
    """The block.

    Raises:
        DamagedBlockError: these are not the bytes that were written.
    """
    try:
        raw = zstandard.ZstdDecompressor().decompress(compressed)
    except zstandard.ZstdError as error:
        raise DamagedBlockError(str(error)) from None
    (length,) = _LENGTH.unpack_from(raw)
    head = orjson.loads(raw[_LENGTH.size : _LENGTH.size + length])
    arrays = _Arrays(raw, _LENGTH.size + length)
    firsts, nums = arrays.next(), arrays.next()
    starts = np.cumsum(nums) - nums
    times = arrays.differences(starts, nums)
    columns = tuple(arrays.numbers(starts, nums) for _ in range(head["columns"]))
    layout, counts = None, None
    if head["layout"]:
        indexes, bounds, scale, unit = head["layout"]
        layout = Layout(
            indexes=tuple(indexes), bounds=None if bounds is None else tuple(bounds), scale=scale, unit=unit
        )
        counts = arrays.differences(starts, nums, len(indexes))
    return Block(ids=np.repeat(firsts, nums), times_ms=times, columns=columns, counts=counts, layout=layout)


def starts_of(ids: Ids) -> NDArray[np.intp]:
    """Where each series begins."""
    return np.flatnonzero(np.append(True, ids[1:] != ids[:-1])) if len(ids) else np.zeros(0, np.intp)


def _packed(values: Ints) -> bytes:
    """Whole numbers in the fewest bytes that hold them all, those of one rank together."""
    flat = np.ascontiguousarray(values.T).reshape(-1)
    low, high = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
    narrow = flat.astype(next(kind for kind in _WHOLE if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max))
    shuffled = narrow.view(np.uint8).reshape(-1, narrow.itemsize).T
    return _ARRAY.pack(flat.size, narrow.itemsize) + shuffled.tobytes()


def _differences(values: Ints, starts: NDArray[np.intp]) -> list[bytes]:
    """Each series' first number, and how each further one differs from that before."""
    steps = np.diff(values, axis=0, prepend=values[:1])
    steps[starts] = 0
    return [_packed(values[starts]), _packed(steps)]


def _numbers(values: Floats, starts: NDArray[np.intp]) -> list[bytes]:
    if np.all(np.abs(values) < EXACT) and not np.signbit(values[values == 0]).any():  # NaN is not below either
        whole = values.astype(np.int64)
        if np.array_equal(whole, values):
            return [b"\1", *_differences(whole, starts)]
    bits = np.ascontiguousarray(values).view(np.int64)
    return [b"\0", _packed(np.bitwise_xor(bits, np.append(np.int64(0), bits[:-1])))]


class _Arrays:
    """The arrays of a block, one after the other."""

    def __init__(self, raw: bytes, offset: int) -> None:
        self._raw, self._offset = raw, offset

    def next(self) -> Ints:
        size, itemsize = _ARRAY.unpack_from(self._raw, self._offset)
        self._offset += _ARRAY.size
        shuffled = np.frombuffer(self._raw, np.uint8, size * itemsize, self._offset).reshape(itemsize, size)
        self._offset += size * itemsize
        return np.ascontiguousarray(shuffled.T).view(f"<i{itemsize}").reshape(-1).astype(np.int64)

    def differences(self, starts: NDArray[np.intp], nums: Ints, width: int | None = None) -> Ints:
        firsts, steps = self.next(), self.next()
        if width is not None:
            firsts, steps = firsts.reshape(width, len(starts)).T, steps.reshape(width, int(nums.sum())).T
        summed = np.cumsum(steps, axis=0)
        return summed + np.repeat(firsts - summed[starts], nums, axis=0)

    def numbers(self, starts: NDArray[np.intp], nums: Ints) -> Floats:
        is_whole = self._raw[self._offset] == 1
        self._offset += 1
        if is_whole:
            return self.differences(starts, nums).astype(np.float64)
        return np.bitwise_xor.accumulate(self.next()).view(np.float64)
