"""How soon a loss of agreement with the teacher is noticed, and how often one is that did not happen.

The agreement of the manifest was measured on examples of its own, so it is not quite what it is for live requests.
"""

import argparse

import numpy as np

from benchmarks.throughput import Figures
from telemetry.fidelity.share import WatchedShare

AGREEMENTS = (0.93, 0.95, 0.97)
LOSS = 0.03
NUM_MEASURED = 10_000
"""Examples that the manifest's agreement is of; it needs no labels."""
NUM_BEFORE = 1000
LOOK_ROWS = 10
FALSE_ALARMS = 0.01


def figures(options: argparse.Namespace) -> Figures:
    """Median of shadowed requests from a loss of 3 points to the alarm, and the share of streams without one that raise
    it within 20,000 requests."""
    random = np.random.default_rng(7)
    num_streams = 10 if options.quick else 60
    delays = [_delay(random, agreement) for agreement in AGREEMENTS for _ in range(num_streams)]
    false = [_is_false(random, agreement) for agreement in AGREEMENTS for _ in range(num_streams)]
    return {
        "fidelity_delay": float(np.median(delays)),
        "fidelity_delay_p90": float(np.quantile(delays, 0.9)),
        "fidelity_false": float(np.mean(false)),
    }


def _watched(random: np.random.Generator, agreement: float) -> WatchedShare:
    num_good = int(random.binomial(NUM_MEASURED, agreement))
    return WatchedShare(num_good=num_good, num_rows=NUM_MEASURED, alpha=FALSE_ALARMS)


def _take(random: np.random.Generator, watched: WatchedShare, agreement: float, rows: int) -> None:
    num_good = int(random.binomial(rows, agreement))
    watched.take(num_good=num_good, num_bad=rows - num_good)


def _delay(random: np.random.Generator, agreement: float) -> int:
    watched = _watched(random, agreement)
    for _ in range(NUM_BEFORE // LOOK_ROWS):
        _take(random, watched, agreement, LOOK_ROWS)
    rows = 0
    while not watched.has_fallen and rows < 50_000:
        _take(random, watched, agreement - LOSS, LOOK_ROWS)
        rows += LOOK_ROWS
    return rows


def _is_false(random: np.random.Generator, agreement: float) -> bool:
    watched = _watched(random, agreement)
    for _ in range(200):
        _take(random, watched, agreement, 100)
        if watched.has_fallen:
            return True
    return False
