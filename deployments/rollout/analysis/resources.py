"""Whether the candidate's processes leak memory, or take more of the processor for a request, than the baseline's.

Each stretch of time is one bet on a coin: that they grew, or took, too much. A leak goes on; a process that fills its
caches grows ever more slowly, and is none.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import NamedTuple

import numpy as np

from deployments.rollout.analysis import bets, starts
from deployments.rollout.evidence import Window

STRETCH_S = 6.0
"""Shortest time over which the growth of a process is told."""
SLOWED = 0.5
"""Growth of the later half, over that of the earlier, below which it is coming to an end."""
FEWEST = 5
"""Requests that each arm must have had in a window for its processor time to count."""


class Growth(NamedTuple):
    """How the candidate's processes grew, once settled, beyond the baseline's."""

    nats: float
    bytes_per_s: float


def leaks(windows: Sequence[Window], leak_per_hour: float, settle_s: float) -> Growth:
    """Evidence for a leak of `leak_per_hour` of a process's size or more."""
    grown, coins = [], []
    for first, last, processes in _stretches(windows, settle_s):
        took_s = last.end_s - first.end_s
        ours = _growth(first.candidate.memory_bytes, last.candidate.memory_bytes, processes)
        theirs = _growth(first.baseline.memory_bytes, last.baseline.memory_bytes, last.baseline.memory_bytes.keys())
        size = sum(last.candidate.memory_bytes[each] for each in processes) / len(processes)
        beyond = ours - max(0.0, theirs)
        coins.append(float(beyond > leak_per_hour * size * took_s / 3600))
        grown.append(beyond / took_s)
    half = len(grown) // 2
    if not half or np.mean(grown[half:]) < SLOWED * np.mean(grown[:half]):
        return Growth(0.0, 0.0)
    return Growth(_nats(coins), float(np.mean(grown)))


def dearer(windows: Sequence[Window], margin: float, idle_cpu: float) -> float:
    """Nats for the candidate taking more processor time for a request, by more than `margin` and its idle time."""
    coins = []
    for window in windows:
        ours, theirs = window.candidate, window.baseline
        if min(ours.requests, theirs.requests) < FEWEST or not theirs.cpu_s:
            continue
        idle_s = idle_cpu * max(1, len(ours.memory_bytes)) * (window.end_s - window.start_s)
        most_s = (1 + margin) * theirs.cpu_s / theirs.requests * ours.requests + idle_s
        coins.append(float(ours.cpu_s > most_s))
    return _nats(coins)


def _nats(coins: list[float]) -> float:
    """Against heads in half of the throws at most."""
    return starts.strongest(bets.gains(coins, np.full(len(coins), 0.5)), bets.wealth).nats


def _stretches(windows: Sequence[Window], settle_s: float) -> Iterator[tuple[Window, Window, Set[str]]]:
    """Two windows so far apart, and the candidate's processes that had settled at the first and are in the last."""
    began_s: dict[str, float] = {}
    first: Window | None = None
    settled: set[str] = set()
    for window in windows:
        here = window.candidate.memory_bytes.keys()
        for process in here:
            began_s.setdefault(process, window.start_s)
        if first is not None and window.end_s - first.end_s >= STRETCH_S:
            if settled & here:
                yield first, window, settled & here
            first = None
        if first is None:
            settled = {process for process in here if window.end_s >= began_s[process] + settle_s}
            first = window if settled else None


def _growth(before: Mapping[str, int], after: Mapping[str, int], processes: Set[str]) -> float:
    """Mean growth, in bytes, of those that are in both; 0 of none."""
    both = before.keys() & after.keys() & processes
    return sum(after[each] - before[each] for each in both) / max(1, len(both))
