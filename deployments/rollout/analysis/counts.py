"""Counts of both arms, window by window."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deployments.rollout.evidence import Arm, K, Window

Floats = NDArray[np.float64]


def of_both(windows: Sequence[Window], counts: Callable[[Arm], tuple[int, int]]) -> Floats:
    """Hits and trials of the candidate, then of the baseline, [windows, 4]."""
    rows = [(*counts(window.candidate), *counts(window.baseline)) for window in windows]
    return np.array(rows, np.float64).reshape(len(rows), 4)


def summed(each: Iterable[Mapping[K, int]]) -> Counter[K]:
    """Counts by name, of all windows."""
    found = Counter[K]()
    for counts in each:
        found.update(counts)
    return found


def as_text(both: Floats, what: str) -> str:
    """All of them, in words."""
    hits, trials, base_hits, base_trials = (int(each) for each in both.sum(axis=0))
    base = f"{base_hits / max(1, base_trials):.2%} of {base_trials:,}"
    return f"{hits / max(1, trials):.2%} of {trials:,} {what}, baseline {base}"
