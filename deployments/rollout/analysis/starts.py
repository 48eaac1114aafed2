"""A version may turn bad at any window: evidence is looked for since each of some, of late more than of long ago.

What is bet on each window adds up to 1 (`telemetry.drift.starts`), so that the chance of a false alarm is bounded for
the whole rollout, and a fault that begins late costs some nats more, not all that went well before.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from deployments.rollout.analysis.counts import Floats
from telemetry.drift import starts


class Since(NamedTuple):
    """The strongest evidence, and the window from which on it is counted."""

    nats: float
    start: int


def strongest(sums: Floats, nats: Callable[[Floats], Floats]) -> Since:
    """`sums` are what to add up of each window, [windows, numbers]; `nats` what some sums prove, [starts, numbers] ->
    [starts]."""
    if not len(sums):
        return Since(0.0, 0)
    kept = np.array([start for start in range(len(sums)) if starts.is_kept(start, len(sums) - 1)])
    before = np.concatenate([np.zeros((1, sums.shape[1])), np.cumsum(sums, axis=0)])
    found = nats(before[-1] - before[kept]) + np.log([starts.weight(int(start)) for start in kept])
    best = int(np.argmax(found))
    return Since(max(0.0, float(found[best])), int(kept[best]))
