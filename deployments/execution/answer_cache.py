"""Answers a model has given before, found again by the content of their inputs.

    inputs -> digest -> known outputs, or the model's, which are kept while there is room

Each version of a model has a cache of its own, so no version ever gives another's answer. It is right for models that
give the same outputs for the same inputs, as a graph without random numbers does.
"""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b

import numpy as np

from deployments.oip.tensors import Array, to_binary

ENTRY_BYTES = 512
"""What an entry takes beside its elements, about."""


class AnswerCache:
    """Outputs by digest, up to `max_bytes`; what was not asked for longest goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, tuple[dict[str, Array], int]] = OrderedDict()
        self.size_bytes = 0

    def get(self, digest: bytes) -> dict[str, Array] | None:
        """The outputs kept for `digest`, if any."""
        entry = self._entries.get(digest)
        if entry is None:
            return None
        self._entries.move_to_end(digest)
        return entry[0]

    def put(self, digest: bytes, outputs: Mapping[str, Array]) -> None:
        """Keep a copy of `outputs`: they may be views of a whole batch. What fills the cache alone is not kept."""
        size = ENTRY_BYTES + sum(_size(array) for array in outputs.values())
        if digest in self._entries or size > self._max_bytes:
            return
        while self.size_bytes + size > self._max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.size_bytes -= freed
        self._entries[digest] = {name: array.copy() for name, array in outputs.items()}, size
        self.size_bytes += size


def digest_of(inputs: Mapping[str, Array]) -> bytes:
    """Names, types, shapes and elements of `inputs` in 32 bytes; others' inputs cannot be made to collide with it."""
    digest = blake2b(digest_size=32)
    for name in sorted(inputs):
        array = inputs[name]
        # As bytes by a view: bfloat16, for one, offers no buffer of its own.
        raw = to_binary(array) if array.dtype == object else np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(raw)
    return digest.digest()


def _size(array: Array) -> int:
    if array.dtype != object:
        return array.nbytes
    return sum(len(element) + 40 for element in array.ravel())
