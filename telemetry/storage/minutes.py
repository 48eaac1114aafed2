"""Points as they came become one point a minute."""

import numpy as np

from telemetry.storage.block import Block, Floats
from telemetry.storage.catalogue import Kind

MINUTE_MS = 60_000


def minutes(block: Block, kind: Kind) -> Block:
    """Each minute's last point; of a gauge its mean, lowest and highest in that minute, without what is NaN."""
    minute = block.times_ms // MINUTE_MS
    ends = np.append((block.ids[1:] != block.ids[:-1]) | (minute[1:] != minute[:-1]), True)
    last = np.flatnonzero(ends)
    reduced = block.taken(last)
    if kind != "gauge":
        return reduced
    return Block(ids=reduced.ids, times_ms=reduced.times_ms, columns=_summary(block.columns[0], last))


def _summary(values: Floats, last: "np.ndarray[tuple[int], np.dtype[np.intp]]") -> tuple[Floats, Floats, Floats]:
    first = np.append(0, last[:-1] + 1)
    known = ~np.isnan(values)
    num = np.add.reduceat(known.astype(np.int64), first)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = np.where(num, np.add.reduceat(np.where(known, values, 0.0), first) / np.maximum(num, 1), np.nan)
    return mean, np.fmin.reduceat(values, first), np.fmax.reduceat(values, first)
