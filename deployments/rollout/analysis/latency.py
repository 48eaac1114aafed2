"""Whether the candidate's requests take longer than the baseline's of the same window.

Of n requests of the baseline the k-th is a threshold that one more of the same kind would exceed with a chance of
1 - k / (n + 1) at most, whatever their distribution. The share of the candidate's that exceed it, widened by the
margin, is one number a window, and is bet on (`bets`): a slow minute of both arms proves nothing.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from deployments.rollout.analysis import bets, starts
from deployments.rollout.evidence import BINS_PER_DOUBLING, Window, duration_of

QUANTILES = (0.5, 0.9, 0.99)
FEWEST = 10
"""Answered requests of the baseline that a window must have."""
MOST_NATS_PER_S = 0.8
"""What a second can prove at most: a candidate that stalls for some seconds is not bad, one that goes on to is."""


def slower(windows: Sequence[Window], quantile: float, margin: float) -> float:
    """Nats for the candidate being slower at `quantile` than the baseline by more than `margin`."""
    numbers, means = [], []
    for window in windows:
        theirs, ours = window.baseline.durations, window.candidate.durations
        num_theirs, num_ours = sum(theirs.values()), sum(ours.values())
        if num_theirs < FEWEST or not num_ours:
            continue
        rank = math.ceil(quantile * num_theirs)
        threshold = _bin_of(theirs, rank) + math.ceil(math.log2(1 + margin) * BINS_PER_DOUBLING)
        mean = 1 - rank / (num_theirs + 1)
        most = mean * math.exp(MOST_NATS_PER_S * (window.end_s - window.start_s))
        share = sum(count for index, count in ours.items() if index > threshold) / num_ours
        numbers.append(min(share, most))
        means.append(mean)
    return starts.strongest(bets.gains(numbers, means), bets.wealth).nats if numbers else 0.0


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
