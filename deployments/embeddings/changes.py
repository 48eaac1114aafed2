"""What a shard remembers of changes: which rows, for readers that keep some of them; which requests, for those that are
sent twice. Both are bounded.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass

import numpy as np

from deployments.embeddings.owners import NUM_BUCKETS, Buckets, Ids

MAX_LOGGED = 262_144
"""Ids in the log; a reader that is further behind forgets all it has of this shard."""
MAX_REMEMBERED = 16_384
"""Requests that are known again."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in one shard's log; another life of the shard has another log."""

    life: int
    number: int


class ChangeLog:
    """The ids of the last changes, in order."""

    def __init__(self, life: int, max_logged: int = MAX_LOGGED) -> None:
        self._life = life
        self._max = max_logged
        self._entries: deque[Ids] = deque()
        self._logged = 0
        self._number = 0

    @property
    def position(self) -> Position:
        """Its end."""
        return Position(self._life, self._number)

    def note(self, ids: Ids) -> None:
        """These rows have changed."""
        if not len(ids):
            return
        self._entries.append(ids)
        self._number += 1
        self._logged += len(ids)
        while self._logged > self._max:
            self._logged -= len(self._entries.popleft())

    def since(self, position: Position) -> Ids | None:
        """Rows that have changed since; none where the log does not reach so far back."""
        num_new = self._number - position.number
        if position.life != self._life or not 0 <= num_new <= len(self._entries):
            return None
        if not num_new:
            return np.empty(0, np.int64)
        newest = [self._entries[-1 - index] for index in range(num_new)]
        return np.unique(np.concatenate(newest))


class Tokens:
    """Which buckets each request has changed already: one that is sent again changes them no second time.

    A set of buckets is an integer, a bit for each.
    """

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        self._max = max_remembered
        self._done: OrderedDict[int, int] = OrderedDict()

    def done(self, token: int) -> Buckets:
        """The buckets that `token` has changed, as one flag each."""
        return _flags(self._done.get(token, 0))

    def note(self, token: int, buckets: Buckets) -> None:
        """`token` has changed `buckets`."""
        self.merge({token: _bits(buckets)})

    def among(self, buckets: Buckets) -> dict[int, int]:
        """All that is known of `buckets`."""
        mask = _bits(buckets)
        return {token: done & mask for token, done in self._done.items() if done & mask}

    def merge(self, known: dict[int, int]) -> None:
        """Take what another shard knows."""
        for token, done in known.items():
            self._done[token] = self._done.get(token, 0) | done
        while len(self._done) > self._max:
            self._done.popitem(last=False)


def _bits(buckets: Buckets) -> int:
    flags = np.zeros(NUM_BUCKETS, np.bool_)
    flags[buckets] = True
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")


def _flags(bits: int) -> Buckets:
    raw = np.frombuffer(bits.to_bytes(NUM_BUCKETS // 8, "little"), np.uint8)
    return np.unpackbits(raw, bitorder="little").astype(np.bool_)
