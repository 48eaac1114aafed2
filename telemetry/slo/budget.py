"""How much of an error budget was spent, and how fast: good and bad requests by minutes, for 30 days."""

import math

import numpy as np

NUM_MINUTES = 30 * 24 * 60
DAY_S, HOUR_S, MINUTE_S = 86_400.0, 3600.0, 60.0


class Budget:
    """Good and all requests of each of the last `NUM_MINUTES` minutes, in a ring of 0.7 MB."""

    def __init__(self, share: float) -> None:
        self._allowed = 1.0 - share
        self._counts = np.zeros((NUM_MINUTES, 2))
        """Bad and all, by minute modulo `NUM_MINUTES`."""
        self._latest = 0
        """The latest minute, since the epoch; 0 before the first."""

    def add(self, good: float, total: float, time_s: float) -> None:
        """Count the requests of a moment; those of a minute that is no longer kept are left out."""
        minute = int(time_s // MINUTE_S)
        if self._latest and minute > self._latest:
            new = np.arange(max(self._latest + 1, minute - NUM_MINUTES + 1), minute + 1)
            self._counts[new % NUM_MINUTES] = 0.0
        self._latest = max(self._latest, minute)
        if minute > self._latest - NUM_MINUTES:
            self._counts[minute % NUM_MINUTES] += (max(0.0, total - good), total)

    def burn(self, window_s: float, now_s: float) -> float:
        """How many times as fast as allowed the budget was spent in the last `window_s`: at 1 it is gone after the
        whole 30 days. NaN where no request came.

        The window begins with a whole minute, so it is up to a minute longer than asked for.
        """
        bad, total = self._sums(window_s, now_s)
        return bad / total / self._allowed if total else math.nan

    def num_bad(self, window_s: float, now_s: float) -> float:
        """Bad requests in the last `window_s`."""
        return self._sums(window_s, now_s)[0]

    def left(self, now_s: float) -> float:
        """Share of the budget that is left of 30 days; below 0 where more was spent than there was."""
        bad, total = self._sums(NUM_MINUTES * MINUTE_S, now_s)
        return 1.0 - bad / (total * self._allowed) if total else 1.0

    def _sums(self, window_s: float, now_s: float) -> tuple[float, float]:
        last = int(now_s // MINUTE_S)
        first = max(int((now_s - window_s) // MINUTE_S), last - NUM_MINUTES + 1, self._latest - NUM_MINUTES + 1)
        minutes = np.arange(first, min(last, self._latest) + 1)
        bad, total = self._counts[minutes % NUM_MINUTES].sum(axis=0)
        return float(bad), float(total)
