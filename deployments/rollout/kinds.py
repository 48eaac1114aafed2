"""What kind a request is of: a version may be as good as the other on average, and bad for some."""

from collections.abc import Iterable

from deployments.http.asgi import ParsedBody

SLICE = b"trimtab-rollout-slice"
"""Header that names kinds of a client's own, such as `country=de, app=phone`."""
MOST_NAMED = 4
"""Kinds that a request may name."""
MOST_CHARACTERS = 40
SMALLEST_BYTES, LARGEST_BYTES = 2**10, 2**30


def kinds_of(headers: Iterable[tuple[bytes, bytes]], parsed: ParsedBody | None) -> tuple[str, ...]:
    """Those that a request names, and how large it is; `parsed` is its message where it came by gRPC."""
    given = dict(headers)
    words = given.get(SLICE, b"").decode("latin-1").split(",", MOST_NAMED)[:MOST_NAMED]
    named = {word.strip()[:MOST_CHARACTERS] for word in words} - {""}
    announced = given.get(b"content-length", b"")
    if parsed is not None:
        return (*sorted(named), _size(parsed.size_bytes))
    return (*sorted(named), *((_size(int(announced)),) if announced.isdigit() else ()))


def _size(num_bytes: int) -> str:
    """The smallest of some sizes, each four times the one before, that it is not larger than."""
    limit = SMALLEST_BYTES
    while limit < min(num_bytes, LARGEST_BYTES):
        limit *= 4
    return f"up to {limit // 1024:,} KiB"
