"""Who chose what, and what came of it, as training sees it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Interactions, in no particular order."""

    ids: NDArray[np.int64]
    """[examples, columns]."""
    labels: NDArray[np.int64]
    """1 where it came to what the model foretells, else 0."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, some: NDArray[np.int64]) -> "Examples":
        """Those examples alone."""
        return Examples(ids=self.ids[some], labels=self.labels[some])
