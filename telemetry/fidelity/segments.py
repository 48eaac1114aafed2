"""Where a model fails: its accuracy by class, size, or attribute, the surely worst first."""

from dataclasses import dataclass
from typing import Any

from telemetry.fidelity.confidence_sequence import interval

MOST_SEGMENTS = 400
FEWEST_ROWS = 20
"""Rows from which a segment is told of."""


@dataclass(frozen=True, kw_only=True)
class SegmentReading:
    """The accuracy of the rows of one segment."""

    name: str
    value: str
    rows: int
    accuracy: float
    low: float
    high: float
    """The interval, which holds for all segments and numbers of rows at once."""
    is_worse: bool
    """Whether it is surely below the accuracy of all rows that are told apart by that name."""


class Segments:
    """Right and wrong rows by segment."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[int]] = {}

    def take(self, segment: tuple[str, str], *, num_right: int, num_wrong: int) -> None:
        """Count rows."""
        if segment not in self._counts and len(self._counts) >= MOST_SEGMENTS:
            return
        counts = self._counts.setdefault(segment, [0, 0])
        counts[0] += num_right
        counts[1] += num_wrong

    def worst(self) -> list[SegmentReading]:
        """Segments with rows enough to be told of, those with the least believable accuracy first."""
        totals: dict[str, list[int]] = {}
        for (name, _), (right, wrong) in self._counts.items():
            total = totals.setdefault(name, [0, 0])
            total[0] += right
            total[1] += wrong
        alpha = 0.05 / max(1, len(self._counts))
        found = []
        for (name, value), (right, wrong) in self._counts.items():
            if right + wrong < FEWEST_ROWS:
                continue
            low, high = interval(right, right + wrong, alpha)
            whole = totals[name][0] / sum(totals[name])
            found.append(
                SegmentReading(
                    name=name,
                    value=value,
                    rows=right + wrong,
                    accuracy=right / (right + wrong),
                    low=low,
                    high=high,
                    is_worse=high < whole,
                )
            )
        return sorted(found, key=lambda each: each.high)

    def state(self) -> list[list[Any]]:
        """What it takes to go on after a restart, as JSON says it."""
        return [[*segment, *counts] for segment, counts in self._counts.items()]

    def restore(self, state: list[list[Any]]) -> None:
        """Go on from `state`."""
        self._counts = {(name, value): [right, wrong] for name, value, right, wrong in state}
