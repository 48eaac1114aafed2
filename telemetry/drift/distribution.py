"""One thing that is watched, such as an input's column: whether its rows fall as the reference's did, and since when.

counts -> ChangeTest -> drifted -> until rows come as the reference's did again
       -> windows of a fixed number of rows -> PSI, KS
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telemetry.drift import alternatives, distances
from telemetry.drift.change_test import KNOWN_ROWS, SPACING_ROWS, ChangeTest

Kind = Literal["levels", "categories", "losses"]
"""Numbers in order; categories; or two bins, good rows and bad, of which only more bad ones are a drift."""

WINDOW_ROWS = 500
"""Rows of one window, or more where they come in larger lots."""
RETURNED = math.log(1000)
"""Nats by which rows must be likelier under the reference than under the drift before it has ended."""

FEWEST_ACCEPTED = 30
"""Rows of a drift from which they can be the reference in place of the one before."""

_FAMILIES = {
    "levels": alternatives.of_levels,
    "categories": alternatives.of_categories,
    "losses": alternatives.of_losses,
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is known of one thing now."""

    name: str
    rows: int
    """Seen since it is watched."""
    psi: float
    """Of the last full window, or of the rows so far."""
    psi_expected: float
    """What the PSI of so many rows exceeds by chance once in a hundred windows."""
    ks: float
    evidence: float
    """Nats for a change; `needed` make a drift."""
    needed: float
    is_drifted: bool
    drifted_rows: int
    """Rows since the drift began, as far as that can be told; 0 where there is none."""


class WatchedDistribution:
    """Counts in, a reading out."""

    def __init__(
        self,
        name: str,
        reference: ArrayLike,
        kind: Kind,
        *,
        window_rows: int = WINDOW_ROWS,
        known_rows: int = KNOWN_ROWS,
        spacing_rows: int = SPACING_ROWS,
    ) -> None:
        """`reference` are the rows in each bin, [bins].

        Raises:
            ValueError: it has no rows, or fewer than two bins.
        """
        self.name = name
        self.kind = kind
        self.reference = np.asarray(reference, np.int64)
        self.rows = 0
        self.is_drifted = False
        self._most_known, self._spacing_rows = known_rows, spacing_rows
        self._window_rows = window_rows
        self._begin()
        self._window = np.zeros_like(self.reference)
        self._last_window = np.zeros_like(self.reference)
        self._drifted_before = 0
        self._returning = 0.0
        self._log_ratio = np.zeros(len(self.reference))
        """Of each bin, how much likelier it is under the reference than it was in the drift."""

    def take(self, counts: ArrayLike, needed: float) -> None:
        """Count rows, [bins]; a drift begins where there are `needed` nats for it."""
        new = np.asarray(counts, np.int64)
        self.rows += int(new.sum())
        self._test.take(new)
        self._fill(new)
        if not self.is_drifted and self._test.evidence >= needed:
            self._drift()
        elif self.is_drifted:
            self._returning = max(0.0, self._returning + float(new @ self._log_ratio))
            if self._returning >= RETURNED and self._window_is_usual():
                self.is_drifted = False
                self._test.forget()

    @property
    def evidence(self) -> float:
        """Nats for a change."""
        return self._test.evidence

    def accept(self) -> None:
        """What comes since the drift began is as it should be: it is the reference from now on."""
        if self.is_drifted and (since := self._test.counts_since).sum() >= FEWEST_ACCEPTED:
            self.reference = since
        self.is_drifted = False
        self._begin()

    def reading(self, needed: float) -> Reading:
        """What is known now."""
        counts = self._last_window if self._last_window.any() else self._window
        num_rows = int(counts.sum())
        return Reading(
            name=self.name,
            rows=self.rows,
            psi=distances.psi(self.reference, counts) if num_rows else 0.0,
            psi_expected=distances.psi_by_chance(self._known_rows, max(1, num_rows), len(counts)),
            ks=distances.ks(self.reference, counts),
            evidence=self._test.evidence,
            needed=needed,
            is_drifted=self.is_drifted,
            drifted_rows=self.rows - self._drifted_before if self.is_drifted else 0,
        )

    @property
    def window(self) -> NDArray[np.int64]:
        """The rows of the last full window, [bins]; those so far where none is full."""
        return self._last_window if self._last_window.any() else self._window

    def state(self) -> dict[str, Any]:
        """What it takes to go on after a restart, as JSON says it."""
        return {
            "rows": self.rows,
            "is_drifted": self.is_drifted,
            "test": self._test.state(),
            "window": self._window.tolist(),
            "last_window": self._last_window.tolist(),
            "drifted_before": self._drifted_before,
            "returning": self._returning,
            "log_ratio": self._log_ratio.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`.

        Raises:
            ValueError: it is not of a distribution with as many bins.
        """
        self._test.restore(state["test"])
        self.rows, self.is_drifted = int(state["rows"]), bool(state["is_drifted"])
        self._window = np.array(state["window"], np.int64)
        self._last_window = np.array(state["last_window"], np.int64)
        self._drifted_before = int(state["drifted_before"])
        self._returning, self._log_ratio = float(state["returning"]), np.array(state["log_ratio"])

    def _begin(self) -> None:
        family = _FAMILIES[self.kind](distances.shares(self.reference))
        self._known_rows = min(self._most_known, int(self.reference.sum()))
        self._test = ChangeTest(self.reference, family, known_rows=self._most_known, spacing_rows=self._spacing_rows)

    def _fill(self, new: NDArray[np.int64]) -> None:
        self._window = self._window + new
        if self._window.sum() >= self._window_rows:
            self._last_window, self._window = self._window, np.zeros_like(self._window)

    def _drift(self) -> None:
        since = self._test.counts_since
        self.is_drifted, self._returning = True, 0.0
        self._drifted_before = self.rows - int(since.sum())
        self._log_ratio = np.log(distances.shares(self.reference) / distances.shares(since))
        self._last_window, self._window = since, np.zeros_like(self._window)

    def _window_is_usual(self) -> bool:
        counts = self._last_window
        by_chance = distances.psi_by_chance(self._known_rows, int(counts.sum()), len(counts))
        return distances.psi(self.reference, counts) <= by_chance
