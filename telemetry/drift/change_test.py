"""Whether rows still fall into bins as a reference says, whenever one looks and however long.

The reference is itself a sample, of n rows whose bins hold c. What shares p the bins truly have is then no single
distribution: where the bins end at n's own quantiles, p is Dirichlet(c) whatever the numbers' distribution (spacings;
David & Nagaraja 2003, ch. 2), so that new rows of the same distribution follow a Polya urn. Against it one bets on each
of some alternatives: for a change at a given row, the wealth, alternative over urn, is a nonnegative martingale that
starts at 1, so that it ever exceeds 1/a with probability a at most (Ville 1939; Shafer 2021, doi:10.1111/rssa.12647).
The a's of all rows at which a change may have begun add up to `alpha` (`telemetry.drift.starts`): the chance of a false
alarm is bounded for the whole stream, and a change costs some `log(rows)` more evidence the later it comes.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from telemetry.drift import starts
from telemetry.drift.alternatives import Alternatives

KNOWN_ROWS = 2000
"""A reference is taken as no surer than that of so many rows: what moves less than such a sample would is no drift."""
SPACING_ROWS = 16
"""Fewest rows from one place at which a change may have begun to the next: what is told of one begins so late at most.
Closer places find a large change sooner, and a small one later, since each costs."""
LOOK_ROWS = 16
"""Fewest rows from one look to the next."""
FORGET_EVERY = 8
"""Places from one time that old ones are forgotten to the next: it costs as much as a look."""
_UNSEEN = 0.5
"""Rows that a bin is thought to hold beside what the reference has (Jeffreys 1946); the empty ones share it, lest many
bins that stay empty, as they were, come to look like a change."""


class ChangeTest:
    """Counts by bin in, evidence out; memory grows with the logarithm of the rows."""

    def __init__(
        self,
        reference: ArrayLike,
        alternatives: Alternatives,
        *,
        known_rows: int = KNOWN_ROWS,
        spacing_rows: int = SPACING_ROWS,
    ) -> None:
        """`reference` are the rows in each bin, [bins]; `alternatives` are over the same bins.

        Raises:
            ValueError: the reference has no rows, or fewer than two bins.
        """
        counts = np.asarray(reference, np.float64)
        if counts.ndim != 1 or len(counts) < 2 or counts.min() < 0 or counts.sum() < 1:
            raise ValueError(f"a reference must have rows in two bins or more, got {counts.tolist()}")
        urn = counts * min(1.0, known_rows / counts.sum())
        urn += np.where(counts > 0, _UNSEEN, _UNSEEN / max(1, np.sum(counts == 0)))
        any_form = len(urn) * urn / urn.sum()
        self._urns = np.stack([urn, any_form])
        self._log_shares = np.log(np.maximum(alternatives.shares, 1e-12)).T
        self._spacing_rows = spacing_rows
        rest = 1 - alternatives.weights.sum()
        self._log_bets = np.append(np.log(alternatives.weights), math.log(rest) if rest > 1e-9 else -math.inf)
        self._total = np.zeros(len(urn), np.int64)
        self._pending = np.zeros(len(urn), np.int64)
        self._clear()

    def take(self, counts: ArrayLike) -> None:
        """Count rows, [bins]."""
        self._pending += np.asarray(counts, np.int64)
        if self._pending.sum() < LOOK_ROWS:
            return
        if not len(self._before) or (self._total - self._before[-1]).sum() >= self._spacing_rows:
            self._begin()
        self._total += self._pending
        self._pending[:] = 0
        self._look()

    @property
    def evidence(self) -> float:
        """Nats for a change, less what it costs that it may have begun at any row: of a stationary stream it ever
        exceeds `log(1 / alpha)` with probability `alpha` at most."""
        return self._evidence

    @property
    def counts_since(self) -> NDArray[np.int64]:
        """The rows since the change most likely began, [bins]."""
        since: NDArray[np.int64] = self._total - self._before[self._best]
        return since

    def forget(self) -> None:
        """Begin anew, as after an alarm that has ended; places go on to be numbered, so that the bound still holds."""
        self._clear()

    def state(self) -> dict[str, Any]:
        """What it takes to go on after a restart, as JSON says it."""
        return {
            "total": self._total.tolist(),
            "pending": self._pending.tolist(),
            "places": self._places.tolist(),
            "before": self._before.tolist(),
            "next": self._next,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`.

        Raises:
            ValueError: it is not of a test with as many bins.
        """
        arrays = {name: np.array(state[name], np.int64) for name in ("total", "pending", "places", "before")}
        bins, kept = len(self._total), len(arrays["places"])
        shapes = {"total": (bins,), "pending": (bins,), "places": (kept,), "before": (kept, bins)}
        if kept and any(arrays[name].shape != shape for name, shape in shapes.items()):
            raise ValueError(f"the state must be of a test of {bins} bins, got {len(arrays['total'])}")
        self._total, self._pending = arrays["total"], arrays["pending"]
        self._places, self._before = arrays["places"], arrays["before"].reshape(kept, bins)
        self._next = int(state["next"])
        self._log_weights = np.log([starts.weight(int(place)) for place in self._places])
        if kept:
            self._look()

    _next = 0

    def _clear(self) -> None:
        self._places = np.zeros(0, np.int64)
        self._before = np.zeros((0, len(self._total)), np.int64)
        self._log_weights = np.zeros(0)
        self._evidence = 0.0
        self._best = 0

    def _begin(self) -> None:
        """A change may have begun before the rows that wait to be counted."""
        if self._next % FORGET_EVERY == 0:
            kept = [index for index, place in enumerate(self._places) if starts.is_kept(int(place), self._next)]
            self._places, self._before = self._places[kept], self._before[kept]
            self._log_weights = self._log_weights[kept]
        self._places = np.append(self._places, self._next)
        self._before = np.concatenate([self._before, self._total[None]])
        self._log_weights = np.append(self._log_weights, math.log(starts.weight(self._next)))
        self._next += 1

    def _look(self) -> None:
        since = self._total - self._before
        urn, any_form = (_log_urn(since, each) for each in self._urns)
        bets = np.column_stack([since @ self._log_shares, any_form]) + self._log_bets
        wealth = np.logaddexp.reduce(bets, axis=1) - urn + self._log_weights
        self._best = int(np.argmax(wealth))
        self._evidence = float(wealth[self._best])


def _log_urn(counts: NDArray[np.int64], urn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log probability that a Polya urn gives rows with these counts, in one order: [starts, bins] -> [starts]."""
    rows, size = counts.sum(axis=1), urn.sum()
    drawn: NDArray[np.float64] = (gammaln(counts + urn) - gammaln(urn)).sum(axis=1)
    drawn -= gammaln(rows + size) - gammaln(size)
    return drawn
