"""One request in a file: a header with checksum, who sent it, its body.

    magic 4 | crc32 4 | stored bytes 4 | sender bytes 2 | signal 1 | coding 1 | time 8 | sender | stored body

The checksum covers all that follows it. The magic is where a reader goes on after bytes that were damaged.
"""

import struct
from dataclasses import dataclass
from typing import Literal, NamedTuple

import zstandard
from zlib_ng import zlib_ng

Signal = Literal["metrics", "traces", "logs"]
Place = int
"""A position in the journal, in bytes since its beginning, between two records."""

MAGIC = b"\xf1tj1"
MIN_COMPRESSED_BYTES = 256
GZIP_SHARE = 0.5
"""A body that came as gzip is kept so where that is at most this share of it; senders may hardly have compressed it."""
LEVEL = -5
"""zstd's fast levels: a sixth of the size for less time than the checksum and the write of the rest would take."""

_SIGNALS: tuple[Signal, ...] = ("metrics", "traces", "logs")
_PLAIN, _ZSTD, _GZIP = 0, 1, 2
_START = struct.Struct("<4sI")
_REST = struct.Struct("<IHBBd")
HEADER_BYTES = _START.size + _REST.size
MAX_SENDER_BYTES = 2**16 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One request."""

    signal: Signal
    body: bytes
    """OTLP protobuf, as it was received."""
    time_s: float
    """When it was received, by the collector's clock."""
    sender: str
    """Who sent it, as far as the receiver knew; may be empty."""
    place: Place
    """The end of this record: to commit it is to be done with this one and all before it."""


class Header(NamedTuple):
    """What stands before a record's body."""

    crc: int
    rest: bytes
    stored_bytes: int
    sender_bytes: int
    signal: int
    coding: int
    time_s: float

    @property
    def num_bytes(self) -> int:
        """Of the whole record."""
        return HEADER_BYTES + self.sender_bytes + self.stored_bytes


def encoded(
    compressor: zstandard.ZstdCompressor, signal: Signal, body: bytes, time_s: float, sender: str, gzipped: bytes
) -> list[bytes]:
    """The parts of a record, to be written one after the other; the body is compressed where that makes it smaller.

    `gzipped` is the body as it came, if it came so: compressed already.
    """
    stored, coding = body, _PLAIN
    if gzipped and len(gzipped) <= GZIP_SHARE * len(body):
        stored, coding = gzipped, _GZIP
    elif len(body) >= MIN_COMPRESSED_BYTES:
        smaller = compressor.compress(body)
        if len(smaller) < len(body):
            stored, coding = smaller, _ZSTD
    name = sender.encode("utf-8", "replace")[:MAX_SENDER_BYTES]
    rest = _REST.pack(len(stored), len(name), _SIGNALS.index(signal), coding, time_s)
    crc = zlib_ng.crc32(stored, zlib_ng.crc32(name, zlib_ng.crc32(rest)))
    return [_START.pack(MAGIC, crc) + rest + name, stored]


def header(raw: bytes) -> Header | None:
    """What the first bytes of a record say; None where none begins here. Only the checksum can tell that it is true."""
    if len(raw) < HEADER_BYTES or not raw.startswith(MAGIC):
        return None
    _, crc = _START.unpack_from(raw)
    rest = raw[_START.size : HEADER_BYTES]
    return Header(crc, rest, *_REST.unpack(rest))


def is_whole(head: Header, content: bytes) -> bool:
    """Whether sender and body, as they were read, are what was written."""
    return (
        len(content) == head.sender_bytes + head.stored_bytes
        and zlib_ng.crc32(content, zlib_ng.crc32(head.rest)) == head.crc
        and head.signal < len(_SIGNALS)
    )


def decoded(head: Header, content: bytes, place: Place) -> Record:
    """The record that ends at `place`, from a header and content that belong together."""
    stored = content[head.sender_bytes :]
    return Record(
        signal=_SIGNALS[head.signal],
        body=_unfolded(stored, head.coding),
        time_s=head.time_s,
        sender=content[: head.sender_bytes].decode("utf-8", "replace"),
        place=place,
    )


def _unfolded(stored: bytes, coding: int) -> bytes:
    """The body; one that came as gzip was unfolded before it was written down, so it keeps the receivers' limit."""
    if coding == _ZSTD:
        return zstandard.ZstdDecompressor().decompress(stored)
    if coding == _PLAIN:
        return stored
    parts = []
    while stored:  # gzip may come in several streams, one behind the other
        stream = zlib_ng.decompressobj(16 + zlib_ng.MAX_WBITS)
        parts.append(stream.decompress(stored))
        stored = stream.unused_data
    return b"".join(parts)
