"""What a frame hands on as it was reported: rows of models, which those who watch models read."""

from dataclasses import dataclass

from telemetry import conventions as names
from telemetry.receivers.attributes import Attributes
from telemetry.series.distribution import Buckets

OBSERVED = frozenset(
    each.name for each in (names.DRIFT_ROWS, names.DATA_PROBLEMS, names.FIDELITY_ROWS, names.ACCURACY_ROWS)
)
"""The metrics that are handed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one series of a process counted in a frame."""

    metric: str
    attributes: Attributes
    version: str
    """Of the process, where the attributes name none."""
    amount: float | Buckets
