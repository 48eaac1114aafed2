"""A share that should not fall, such as agreement with a teacher: what it is now, and whether it has fallen.

It is compared with what the manifest says, which was itself measured on so many examples: `telemetry.drift.change_test`
knows how sure that is.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

from telemetry.drift.adwin import Adwin
from telemetry.drift.distribution import WatchedDistribution
from telemetry.drift.model_drift import ALPHA
from telemetry.fidelity.confidence_sequence import interval

KNOWN_ROWS = 20_000
"""What was measured on more examples is taken as no surer than on so many."""
SPACING_ROWS = 250
"""Rows from one place at which a loss may have begun to the next."""
MOST_AT_ONCE = 1000
"""Rows that stand for any further ones that come together, in what the share is now."""


@dataclass(frozen=True, kw_only=True)
class ShareReading:
    """What is known of the share now."""

    expected: float
    """What the manifest says."""
    expected_low: float
    expected_high: float
    rows: int
    """Seen since it is watched."""
    value: float
    """Of the latest rows; NaN before the first."""
    low: float
    high: float
    """The interval of `value`, which holds at every number of rows at once."""
    evidence: float
    """Nats for a loss; `needed` make one."""
    needed: float
    has_fallen: bool
    fallen_rows: int
    """Rows since it began to fall, as far as that can be told; 0 where it has not."""


class WatchedShare:
    """Good and bad rows in, a reading out; false alarms with probability `alpha` at most, however long."""

    def __init__(self, *, num_good: int, num_rows: int, alpha: float = ALPHA) -> None:
        """`num_good` of `num_rows` is what was measured when the artifact was made.

        Raises:
            ValueError: there were no rows, or fewer than those that were good.
        """
        if not 0 <= num_good <= num_rows or num_rows < 1:
            raise ValueError(f"num_good must lie in [0, num_rows], got {num_good} of {num_rows}")
        self._needed = math.log(1 / alpha)
        self._good, self._rows, self._alpha = num_good, num_rows, alpha
        self._watched = WatchedDistribution(
            "share", (num_good, num_rows - num_good), "losses", known_rows=KNOWN_ROWS, spacing_rows=SPACING_ROWS
        )
        self._now = Adwin()
        """What it is now: of the latest rows, as many as are alike."""

    def take(self, *, num_good: int, num_bad: int) -> None:
        """Count rows."""
        if num_good + num_bad == 0:
            return
        self._watched.take((num_good, num_bad), self._needed)
        rows = min(num_good + num_bad, MOST_AT_ONCE)
        bad = round(num_bad * rows / (num_good + num_bad))
        for place in range(rows):  # their order is not known: the bad are spread evenly
            self._now.take(1.0 - ((place + 1) * bad // rows - place * bad // rows))

    @property
    def has_fallen(self) -> bool:
        """Whether it has fallen, and not risen again."""
        return self._watched.is_drifted

    def reading(self) -> ShareReading:
        """What is known now."""
        told = self._watched.reading(self._needed)
        rows = self._now.num
        good = min(rows, round(self._now.mean * rows)) if rows else 0
        low, high = interval(good, rows)
        expected_low, expected_high = interval(self._good, self._rows)
        return ShareReading(
            expected=self._good / self._rows,
            expected_low=expected_low,
            expected_high=expected_high,
            rows=told.rows,
            value=good / rows if rows else float("nan"),
            low=low,
            high=high,
            evidence=told.evidence,
            needed=told.needed,
            has_fallen=told.is_drifted,
            fallen_rows=told.drifted_rows,
        )

    def accept(self) -> None:
        """What it is now is as it should be."""
        self._watched.accept()
        self._good, self._rows = int(self._watched.reference[0]), int(self._watched.reference.sum())

    def state(self) -> dict[str, Any]:
        """What it takes to go on after a restart, as JSON says it."""
        return {
            "num_good": self._good,
            "num_rows": self._rows,
            "alpha": self._alpha,
            "seen": self._watched.state(),
            "now": self._now.state(),
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Self:
        """The share that `state` is of."""
        share = cls(num_good=state["num_good"], num_rows=state["num_rows"], alpha=state["alpha"])
        share._watched.restore(state["seen"])
        share._now.restore(state["now"])
        return share
