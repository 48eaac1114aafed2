"""Requests of spans and logs as they came, many in one compressed block, with an index by trace.

The index is the sorted last halves of the trace ids, which are random
(https://www.w3.org/TR/trace-context-2/#random-trace-id-flag): so one read, at the place where an id should be, finds it
or tells that it is not there.
"""

import logging
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

from telemetry.journal.record import Signal
from telemetry.storage.database import Database

logger = logging.getLogger(__name__)

Kept = Signal | Literal["exemplars"]
"""What is kept as it came, or as it was found in what came."""
MAX_BLOCK_BYTES = 2**20
LEVEL = 3
_ROWS = "SELECT id, services FROM requests WHERE signal = ? AND end_ms >= ? AND start_ms <= ? ORDER BY end_ms DESC"
_LENGTH = struct.Struct("<I")
_HALF = 8
_PAGE = 512
"""Trace ids that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, with what it is found by."""

    signal: Kept
    body: bytes
    time_ms: int
    services: frozenset[str]
    traces: NDArray[np.uint64]
    """The last eight bytes of each trace id, as a big-endian number."""
    num: int
    """Of its spans or log records."""


def halves(trace_ids: Iterable[bytes]) -> NDArray[np.uint64]:
    """What trace ids of 16 bytes are found by."""
    return np.frombuffer(b"".join(trace_ids), ">u8")[1::2].astype(np.uint64)


def write(connection: sqlite3.Connection, requests: Sequence[Request]) -> None:
    """Write requests, those of one signal in blocks."""
    for signal in sorted({request.signal for request in requests}):
        for part in _parts([request for request in requests if request.signal == signal]):
            bodies = b"".join(piece for each in part for piece in (_LENGTH.pack(len(each.body)), each.body))
            traces = np.unique(np.concatenate([each.traces for each in part]))
            connection.execute(
                "INSERT INTO requests (signal, start_ms, end_ms, num, services, traces, block) VALUES (?,?,?,?,?,?,?)",
                (
                    signal,
                    min(each.time_ms for each in part),
                    max(each.time_ms for each in part),
                    sum(each.num for each in part),
                    orjson.dumps(sorted(frozenset[str]().union(*(each.services for each in part)))).decode(),
                    traces.astype("<u8").tobytes(),
                    zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(bodies),
                ),
            )


def bodies(block: bytes) -> Iterator[bytes]:
    """The requests of a block.

    Raises:
        zstandard.ZstdError: these are not the bytes that were written.
    """
    raw = zstandard.ZstdDecompressor().decompress(block)
    offset = 0
    while offset < len(raw):
        (length,) = _LENGTH.unpack_from(raw, offset)
        offset += _LENGTH.size
        yield raw[offset : offset + length]
        offset += length


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What requests are asked for; None is any."""

    signal: Kept
    start_ms: int
    end_ms: int
    service: str | None
    half: int | None
    """Of the trace."""

    def may_be_in(self, request: Request) -> bool:
        """Whether the request may hold some of it."""
        return (
            request.signal == self.signal
            and self.start_ms <= request.time_ms <= self.end_ms
            and self.service in (None, *request.services)
            and (self.half is None or bool(np.isin(np.uint64(self.half), request.traces)))
        )


def read(database: Database, wanted: Wanted) -> Iterator[bytes]:
    """Requests that may hold what is wanted, the latest first; blocks that are damaged are left out."""
    asked = (wanted.signal, wanted.start_ms, wanted.end_ms)
    for row, services in database.read(lambda connection: connection.execute(_ROWS, asked).fetchall()) or ():
        if wanted.service is None or wanted.service in orjson.loads(services):
            block = database.read(partial(_block, row=row, half=wanted.half))
            try:
                yield from reversed(list(bodies(block))) if block else ()
            except zstandard.ZstdError as error:
                logger.error("a block of %s is damaged and is left out: %s", wanted.signal, error)


def _block(connection: sqlite3.Connection, row: int, half: int | None) -> bytes | None:
    """The block of a row, unless it was removed or does not hold the trace."""
    is_there = connection.execute("SELECT 1 FROM requests WHERE id = ?", (row,)).fetchone() is not None
    if not is_there or (half is not None and not _holds(connection, row, half)):
        return None
    (block,) = connection.execute("SELECT block FROM requests WHERE id = ?", (row,)).fetchone()
    return bytes(block)


def _holds(connection: sqlite3.Connection, row: int, half: int) -> bool:
    """Whether the block of a row has spans or logs of the trace that `half` stands for."""
    with connection.blobopen("requests", "traces", row, readonly=True) as blob:
        num = len(blob) // _HALF
        first = max(0, (half * num >> 64) - _PAGE // 2)
        while num:
            blob.seek(first * _HALF)
            found = np.frombuffer(blob.read(_PAGE * _HALF), "<u8")
            if half < found[0] and first > 0:
                first = max(0, first - _PAGE)
            elif half > found[-1] and first + len(found) < num:
                first += len(found)
            else:
                return bool(np.isin(np.uint64(half), found))
    return False


def _parts(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """As many at a time as fill a block."""
    part: list[Request] = []
    num_bytes = 0
    for request in requests:
        if part and num_bytes + len(request.body) > MAX_BLOCK_BYTES:
            yield part
            part, num_bytes = [], 0
        part.append(request)
        num_bytes += len(request.body)
    if part:
        yield part
