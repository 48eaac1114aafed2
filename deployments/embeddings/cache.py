"""The rows that are asked for most, kept beside the model: a set-associative cache, asked for a whole request.

An id may lie in one of a few places, which follow from it, as in a processor's cache; the one that was not used for
longest gives way. Each row is remembered with the shard that gave it and when, so that what is too old is not used.
"""

import numpy as np
from numpy.typing import NDArray

from deployments.embeddings.owners import Ids
from deployments.embeddings.table import DTYPES, Table, Values

WAYS = 8
_EMPTY = -1


class RowCache:
    """Up to about `num_rows` rows."""

    def __init__(self, table: Table, num_rows: int) -> None:
        self._num_sets = max(1, num_rows // WAYS)
        places = self._num_sets * WAYS
        self._ids = np.full((self._num_sets, WAYS), _EMPTY, np.int64)
        self._values = np.zeros((places, table.width), DTYPES[table.dtype])
        self._origin = np.zeros(places, np.int32)
        self._fetched = np.zeros(places, np.float64)
        self._used = np.zeros((self._num_sets, WAYS), np.int64)
        self._tick = 0

    def get(self, ids: Ids, valid_from: NDArray[np.float64]) -> tuple[NDArray[np.bool_], Values]:
        """Which of `ids`, none of them twice, are here, and their rows.

        `valid_from` is indexed by shard: what a shard gave before that moment is too old.
        """
        sets = self._sets(ids)
        matches = self._ids[sets] == ids[:, None]
        here = matches.any(axis=1)
        places = sets * WAYS + matches.argmax(axis=1)
        here &= self._fetched[places] >= valid_from[self._origin[places]]
        found = places[here]
        self._tick += 1
        self._used.ravel()[found] = self._tick
        return here, self._values[found]

    def put(self, ids: Ids, values: Values, origin: NDArray[np.int32], fetched: float) -> None:
        """Keep rows, none of them twice, that were asked for at the moment `fetched`."""
        self._tick += 1
        while len(ids):
            sets = self._sets(ids)
            _, first = np.unique(sets, return_index=True)  # one of each set at a time: two must not take one place
            self._put(ids[first], values[first], origin[first], fetched, sets[first])
            later = np.ones(len(ids), np.bool_)
            later[first] = False
            ids, values, origin = ids[later], values[later], origin[later]

    def drop(self, ids: Ids) -> None:
        """Forget these rows."""
        sets = self._sets(ids)
        matches = self._ids[sets] == ids[:, None]
        places = sets * WAYS + matches.argmax(axis=1)
        self._ids.ravel()[places[matches.any(axis=1)]] = _EMPTY

    def clear(self) -> None:
        """Forget all."""
        self._ids.fill(_EMPTY)

    def _put(
        self, ids: Ids, values: Values, origin: NDArray[np.int32], fetched: float, sets: NDArray[np.int64]
    ) -> None:
        held = self._ids[sets]
        age = np.where(held == _EMPTY, -1, self._used[sets])
        age = np.where(held == ids[:, None], -2, age)
        places = sets * WAYS + age.argmin(axis=1)
        self._ids.ravel()[places] = ids
        self._used.ravel()[places] = self._tick
        self._values[places] = values
        self._origin[places] = origin
        self._fetched[places] = fetched

    def _sets(self, ids: Ids) -> NDArray[np.int64]:
        return (ids ^ (ids >> 17)) % self._num_sets
