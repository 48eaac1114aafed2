"""Protobuf written by hand, for what is written with every request: https://protobuf.dev/programming-guides/encoding/.

A span made of the classes that protobuf generates takes ten times as long.
"""

SCOPE_NAME = "trimtab"


def field(number: int, content: bytes) -> bytes:
    """A field, of a number below 16, whose content has a length: a message, text or bytes."""
    return bytes((number << 3 | 2,)) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A number that is not negative."""
    if number < 128:
        return bytes((number,))
    if number < 16384:
        return bytes((number & 127 | 128, number >> 7))
    return bytes((number & 127 | 128,)) + varint(number >> 7)


SCOPE = field(1, field(1, SCOPE_NAME.encode()))
"""The instrumentation scope, as a field of the scope's spans or log records."""
