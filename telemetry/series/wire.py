"""Protobuf on the wire, as far as finding a value's place needs it (https://protobuf.dev/programming-guides/encoding/)."""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class UnreadableError(ValueError):
    """The bytes are no protobuf, or written in a way that only a whole parser reads."""


def fields(buffer: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each field's number and wire type, and where its content begins and ends.

    Raises:
        UnreadableError: they do not end where they must, or a wire type is none of the four.
    """
    try:
        while at < end:
            tag = buffer[at]
            at += 1
            if tag >= 128:
                tag, at = varint(buffer, at - 1)
            kind = tag & 7
            begin = at
            if kind == BYTES:
                size = buffer[at]
                begin = at + 1
                if size >= 128:
                    size, begin = varint(buffer, at)
                at = begin + size
            elif kind == FIXED64:
                at += 8
            elif kind == VARINT:
                _, at = varint(buffer, at)
            elif kind == FIXED32:
                at += 4
            else:
                raise UnreadableError(f"wire type {kind}")
            if at > end:
                raise UnreadableError("a field is longer than what holds it")
            yield tag >> 3, kind, begin, at
    except IndexError:
        raise UnreadableError("a field is cut short") from None


def varint(buffer: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise UnreadableError("a number is longer than 64 bits")
