"""Bodies that came compressed, never unfolded further than they may be."""

import io
from collections.abc import Callable, Iterator

import zstandard
from zlib_ng import zlib_ng

from telemetry.receivers.errors import MalformedError, TooLargeError, UnsupportedError
from telemetry.receivers.memory import Held

ENCODINGS = ("gzip", "deflate", "zstd", "identity")
PART_BYTES = 256 * 1024
"""A body is unfolded so much at a time: a bomb is noticed after its first parts."""
MAX_WINDOW_BYTES = 8 * 2**20
"""Of a zstd body: what RFC 8878 asks of every reader."""
GZIP_MAGIC = b"\x1f\x8b"


def check(encoding: str) -> str:
    """The name of an encoding that is understood.

    Raises:
        UnsupportedError: it is another one.
    """
    name = encoding.strip().lower() or "identity"
    if name not in ENCODINGS:
        raise UnsupportedError(f"content-encoding must be one of {', '.join(ENCODINGS)}, got {encoding[:40]!r}")
    return name


def decompressed(body: bytes, encoding: str, max_bytes: int, held: Held) -> bytes:
    """The body as it was before it was compressed; each part is reserved before it is unfolded.

    Raises:
        MalformedError: it is no such body, or not a whole one.
        TooLargeError: it would exceed `max_bytes`.
        BusyError: there is no memory for it now.
    """
    if encoding == "identity":
        return body
    parts: list[bytes] = []
    num_bytes = 0
    read = _READERS[encoding]
    held.reserve(PART_BYTES)
    for part in read(body):
        num_bytes += len(part)
        if num_bytes > max_bytes:
            raise TooLargeError(f"the body must not exceed {max_bytes} bytes after decompression")
        parts.append(part)
        held.reserve(len(part))
    held.release(PART_BYTES)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _gzip(body: bytes) -> Iterator[bytes]:
    return _inflated(body, "gzip", 16 + zlib_ng.MAX_WBITS)


def _deflate(body: bytes) -> Iterator[bytes]:
    """As zlib wraps it, or bare, as some senders understand the word."""
    is_wrapped = len(body) >= 2 and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0
    return _inflated(body, "deflate", zlib_ng.MAX_WBITS if is_wrapped else -zlib_ng.MAX_WBITS)


def _inflated(body: bytes, name: str, wbits: int) -> Iterator[bytes]:
    """The parts of one or several streams, one behind the other."""
    while True:
        stream = zlib_ng.decompressobj(wbits)
        while not stream.eof:
            try:
                part = stream.decompress(body, PART_BYTES)
            except zlib_ng.error as error:  # type: ignore[misc]  # its stubs forget that it is an exception
                raise MalformedError(f"the body must be {name}, as content-encoding says: {error}") from None
            body = stream.unconsumed_tail
            if part:
                yield part
            elif not stream.eof and not body:
                raise MalformedError(f"the {name} body must be complete, got a part of it")
        body = stream.unused_data
        if not body:
            return


def _zstd(body: bytes) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).stream_reader(
        io.BytesIO(body), read_across_frames=True
    )
    num_bytes = 0
    try:
        while part := reader.read(PART_BYTES):
            num_bytes += len(part)
            yield part
        is_whole = num_bytes == zstandard.frame_content_size(body) or _ends(body)
    except zstandard.ZstdError as error:
        raise MalformedError(f"the body must be zstd, as content-encoding says: {error}") from None
    if not is_whole:
        raise MalformedError("the zstd body must be complete, got a part of it")


def _ends(body: bytes) -> bool:
    """Whether zstd frames that do not tell their size, known by now to be bounded, are whole."""
    while body:
        frame = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
        frame.decompress(body)
        if not frame.eof:
            return False
        body = frame.unused_data
    return True


_READERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {"gzip": _gzip, "deflate": _deflate, "zstd": _zstd}
