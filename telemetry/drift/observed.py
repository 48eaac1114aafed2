"""What replicas report of a model's rows, read: each series bears the reference that it is to be compared with."""

from dataclasses import dataclass
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from telemetry import conventions as names
from telemetry.drift.distribution import Kind
from telemetry.receivers.attributes import Attributes
from telemetry.series.distribution import Buckets

MOST_BINS = 64
"""A series with more is not read."""
MOST_ROWS = 2**40
"""Nor is one that claims more in one bin at once."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Rows that one series counted."""

    version: str
    name: str
    """What is watched; empty for fidelity and accuracy of all rows."""
    kind: Kind
    reference: tuple[int, ...]
    """Rows in each bin when the artifact was made; empty where that is not known."""
    bounds: tuple[float, ...]
    counts: NDArray[np.int64]
    segment: tuple[str, str] | None = None
    """The name and value of the segment that the rows are of."""


def observed(attributes: Attributes, version: str, buckets: Buckets) -> Observed | None:
    """What a series with these attributes counted; `version` is its sender's. None where it cannot be read."""
    said = dict(attributes)
    kind = str(said.get(names.WATCHED_KIND, "losses"))
    bounds = buckets.bounds
    if bounds is None or not 1 <= len(bounds) < MOST_BINS or kind not in get_args(Kind):
        return None
    reference = _reference(str(said.get(names.REFERENCE_COUNTS, "")), len(bounds) + 1)
    if reference is None or any(count > MOST_ROWS for count in buckets.counts.values()):
        return None
    counts = np.zeros(len(bounds) + 1, np.int64)
    for bin_, count in buckets.counts.items():
        counts[bin_] = count
    segment = (str(said[names.SEGMENT]), str(said.get(names.SEGMENT_VALUE, ""))) if names.SEGMENT in said else None
    return Observed(
        version=str(said.get(names.MODEL_VERSION, version)),
        name=str(said.get(names.WATCHED, "")),
        kind=cast("Kind", kind),
        reference=reference,
        bounds=bounds,
        counts=counts,
        segment=segment,
    )


def _reference(text: str, num_bins: int) -> tuple[int, ...] | None:
    """The counts that `text` says, none of them where it is empty; None where they are not those of so many bins."""
    if not text:
        return ()
    parts = text.split(",")
    if len(parts) != num_bins or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        return None
    counts = tuple(map(int, parts))
    return counts if sum(counts) else None
