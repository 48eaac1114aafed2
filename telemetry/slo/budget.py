"""How much of an error budget was spent, and how fast: bad requests and all, by minutes and by hours, for 30 days."""

import math
from typing import Any

import numpy as np

DAY_S, HOUR_S, MINUTE_S = 86_400.0, 3600.0, 60.0
PERIOD_S = 30 * DAY_S
FINE_S = 6 * HOUR_S
"""Windows up to this long are summed by minutes, longer ones by hours."""


class Budget:
    """Counts of one objective of one service, in 17 KB.

    Before its first request a service is taken to have had as many as since, all of them good: an hour's failures are
    an hour's, and not those of 30 days, though it is known for no longer.
    """

    def __init__(self, share: float) -> None:
        self._allowed = 1.0 - share
        self._began_s: float | None = None
        self._minutes = _Ring(MINUTE_S, FINE_S)
        self._hours = _Ring(HOUR_S, PERIOD_S)

    def add(self, good: float, total: float, time_s: float) -> None:
        """Count the requests of a moment; of one that is no longer kept nothing is counted."""
        if self._began_s is None:
            self._began_s = time_s
        for ring in (self._minutes, self._hours):
            ring.add(max(0.0, total - good), total, time_s)

    def burn(self, window_s: float, now_s: float) -> float:
        """How many times as fast as allowed the budget was spent in the last `window_s`: at 1 it is gone after the
        whole 30 days. NaN where no request came.

        A window begins with a whole minute, one of more than six hours with a whole hour, and is longer by that much.
        """
        bad, total = self._sums(window_s, now_s)
        return bad / total / self._allowed if total else math.nan

    def num_bad(self, window_s: float, now_s: float) -> float:
        """Bad requests in the last `window_s`."""
        return self._sums(window_s, now_s)[0]

    def left(self, now_s: float) -> float:
        """Share of the budget that is left of 30 days; below 0 where more was spent than there was."""
        bad, total = self._sums(PERIOD_S, now_s)
        return 1.0 - bad / (total * self._allowed) if total else 1.0

    def document(self) -> dict[str, Any]:
        """What was counted, as JSON."""
        return {"began_s": self._began_s, "minutes": self._minutes.document(), "hours": self._hours.document()}

    def restore(self, document: dict[str, Any]) -> None:
        """Go on from what `document` returned.

        Raises:
            ValueError, KeyError, TypeError: it is not of a budget.
        """
        began_s = document["began_s"]
        self._began_s = None if began_s is None else float(began_s)
        self._minutes.restore(document["minutes"])
        self._hours.restore(document["hours"])

    def _sums(self, window_s: float, now_s: float) -> tuple[float, float]:
        """Bad requests and all in a window."""
        bad, total = (self._minutes if window_s <= FINE_S else self._hours).sums(window_s, now_s)
        known_s = max(now_s - (now_s if self._began_s is None else self._began_s), MINUTE_S)
        return bad, total * max(1.0, window_s / known_s)


class _Ring:
    """Bad requests and all in each of the last steps of time."""

    def __init__(self, step_s: float, kept_s: float) -> None:
        self._step_s, self._num = step_s, int(kept_s / step_s) + 1
        self._counts = np.zeros((self._num, 2))
        self._latest = 0
        """The latest step, since the epoch; 0 before the first."""

    def add(self, bad: float, total: float, time_s: float) -> None:
        step = int(time_s // self._step_s)
        if self._latest and step > self._latest:
            self._counts[np.arange(max(self._latest + 1, step - self._num + 1), step + 1) % self._num] = 0.0
        self._latest = max(self._latest, step)
        if step > self._latest - self._num:
            self._counts[step % self._num] += (bad, total)

    def sums(self, window_s: float, now_s: float) -> tuple[float, float]:
        last = int(now_s // self._step_s)
        kept = max(last, self._latest) - self._num + 1
        steps = np.arange(max(int((now_s - window_s) // self._step_s), kept), min(last, self._latest) + 1)
        bad, total = self._counts[steps % self._num].sum(axis=0)
        return float(bad), float(total)

    def document(self) -> dict[str, Any]:
        return {"latest": self._latest, "counts": self._counts.tolist()}

    def restore(self, document: dict[str, Any]) -> None:
        counts = np.array(document["counts"], float)
        if counts.shape != self._counts.shape or not np.isfinite(counts).all():
            raise ValueError(f"counts must be {self._counts.shape} finite numbers, got {counts.shape}")
        self._counts, self._latest = counts, int(document["latest"])
