"""Who answers a request while a version is rolled out: the same share of clients all through a step, and a larger one
in the next, of which they are still part.
"""

import hashlib
import random
from collections.abc import Iterable

import orjson
from pydantic import BaseModel, ConfigDict

from deployments.oip.requests import HEADER_LENGTH

KEY = b"trimtab-rollout-key"
"""Header by which a client stays with one version; without it each request is on its own."""
REQUEST_ID = b"x-request-id"


class Split(BaseModel):
    """What the replicas of the baseline follow."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rollout: str
    """Its id."""
    candidate: str
    """Name of the candidate's application."""
    share: float
    """Of the requests, in [0, 1], that the candidate answers; 0 in a shadow."""
    timeout_s: float
    window_s: float
    copies_per_s: float

    def takes(self, key: bytes | None) -> bool:
        """Whether the candidate answers a request of this key."""
        return self.share > 0 and (random.random() if key is None else position(key)) < self.share


def key_of_body(body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The `id` of a request whose JSON has one; what is packed or no JSON has none."""
    named = dict(headers)
    if b'"id"' not in body or named.get(b"content-encoding"):
        return None
    length = named.get(HEADER_LENGTH, b"")
    try:
        found = orjson.loads(body[: int(length)] if length.isdigit() else body)
    except orjson.JSONDecodeError:
        return None  # whoever answers refuses it
    key = found.get("id") if isinstance(found, dict) else None
    return key.encode(errors="surrogatepass") or None if isinstance(key, str) else None


def position(key: bytes) -> float:
    """Where a key lies in [0, 1): the same in every process, and evenly spread."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big") / 2**56


def key_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """What says which requests belong together, if anything does."""
    named = {name: value for name, value in headers if name in (KEY, REQUEST_ID)}
    return named.get(KEY) or named.get(REQUEST_ID) or None
