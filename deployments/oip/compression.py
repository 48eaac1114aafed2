"""The content encodings `gzip` and `deflate`, both ways."""

import gzip
import zlib

from deployments.errors import BodyTooLargeError, RequestError


def decompress(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Undo the content encoding `gzip` or `deflate`.

    Raises:
        RequestError: the encoding is unknown or the body is damaged.
        BodyTooLargeError: it unpacks to more than `limit_bytes`.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise RequestError(f"content-encoding must be gzip, deflate or identity, got {encoding!r}")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: takes the header of gzip and of zlib
    try:
        unpacked = inflate.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise RequestError(f"the {encoding} body is damaged: {error}") from error
    if len(unpacked) > limit_bytes:
        raise BodyTooLargeError(f"the body must have at most {limit_bytes} bytes, got more after {encoding} decoding")
    if not inflate.eof:
        raise RequestError(f"the {encoding} body is cut off")
    return unpacked


def choose_encoding(accepted: str) -> str | None:
    """The content encoding that the header `Accept-Encoding` likes best of `gzip` and `deflate`, if it takes either."""
    weights: dict[str, float] = {}
    for entry in accepted.lower().split(","):
        name, _, weight = entry.partition(";")
        _, _, value = weight.partition("q=")
        try:
            weights[name.strip()] = float(value) if value else 1.0
        except ValueError:  # an unreadable wish is none
            continue
    others = weights.get("*", 0.0)
    best = max(("gzip", "deflate"), key=lambda name: weights.get(name, others))
    return best if weights.get(best, others) > 0 else None


def compress(body: bytes, encoding: str) -> bytes:
    """Apply the content encoding `gzip` or `deflate`, quickly rather than tightly."""
    return gzip.compress(body, compresslevel=1) if encoding == "gzip" else zlib.compress(body, level=1)
