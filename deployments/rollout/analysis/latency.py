"""Whether the candidate's requests take longer than the baseline's of the same window.

Of n requests of the baseline the k-th is a threshold that one more of the same kind would exceed with a chance of
1 - k / (n + 1) at most, whatever their distribution. The share of the candidate's that exceed it, widened by the
margin to the nearest bin, is one number a window, and is bet on (`bets`): a slow minute of both arms proves nothing.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from deployments.rollout.analysis import bets, starts
from deployments.rollout.evidence import BINS_PER_DOUBLING, Window, duration_of

QUANTILES = (0.5, 0.9, 0.99)
MOST_S = 5.0
"""A longer window proves no more than one of so many seconds."""
FEWEST = 10
"""Answered requests of the baseline from which it is compared; until then windows are put together."""
MOST_NATS_PER_S = 0.8
"""What a second can prove at most: a candidate that stalls for some seconds is not bad, one that goes on to is."""


def slower(windows: Sequence[Window], quantile: float, margin: float) -> float:
    """Nats for the candidate being slower at `quantile` than the baseline by more than `margin`."""
    numbers, means = [], []
    for theirs, ours, took_s in _stretches(windows):
        num_theirs = sum(theirs.values())
        rank = math.ceil(quantile * num_theirs)
        threshold = _bin_of(theirs, rank) + round(math.log2(1 + margin) * BINS_PER_DOUBLING)
        mean = 1 - rank / (num_theirs + 1)
        share = sum(count for index, count in ours.items() if index > threshold) / sum(ours.values())
        numbers.append(min(share, mean * math.exp(MOST_NATS_PER_S * min(took_s, MOST_S))))
        means.append(mean)
    return starts.strongest(bets.gains(numbers, means), bets.wealth).nats


def _stretches(windows: Sequence[Window]) -> Iterator[tuple[Counter[int], Counter[int], float]]:
    """Durations of the baseline and the candidate, and seconds: of a window, or of several where few requests came."""
    theirs, ours, took_s = Counter[int](), Counter[int](), 0.0
    for window in windows:
        theirs.update(window.baseline.durations)
        ours.update(window.candidate.durations)
        took_s += window.end_s - window.start_s
        if theirs.total() >= FEWEST and ours.total():
            yield theirs, ours, took_s
            theirs, ours, took_s = Counter(), Counter(), 0.0


def quantile_s(durations: Mapping[int, int], quantile: float) -> float:
    """The duration at `quantile`, rounded up to its bin; NaN of none."""
    num = sum(durations.values())
    return duration_of(_bin_of(durations, math.ceil(quantile * num))) if num else math.nan


def num_above(durations: Mapping[int, int], seconds: float) -> int:
    """How many surely took longer than `seconds`."""
    return sum(count for index, count in durations.items() if duration_of(index - 1) >= seconds)


def _bin_of(durations: Mapping[int, int], rank: int) -> int:
    """The bin of the `rank`-th shortest."""
    indices = sorted(durations)
    below = np.cumsum([durations[index] for index in indices])
    return indices[int(np.searchsorted(below, rank))]
