"""How long a batch takes, learned while it runs: duration = a · work + b.

Least squares over the batches so far, each counting a little less with every new one, so that the line follows a
model that slows down because its neighbours work too. Work is rows, times length where inputs are padded.
"""

MEMORY = 0.95
"""How much a batch still counts when the next one has run."""


class Pace:
    """The line through the durations of past batches; both its coefficients are at least 0."""

    def __init__(self) -> None:
        self._weight = self._work = self._work2 = self._duration = self._product = 0.0
        self._line: tuple[float, float] | None = (0.0, 0.0)

    def learn(self, work: int, duration_s: float) -> None:
        """Count one batch."""
        self._weight = MEMORY * self._weight + 1
        self._work = MEMORY * self._work + work
        self._work2 = MEMORY * self._work2 + work * work
        self._duration = MEMORY * self._duration + duration_s
        self._product = MEMORY * self._product + work * duration_s
        self._line = None

    def line(self) -> tuple[float, float]:
        """Seconds per unit of work, and seconds a batch of none would take; (0, 0) before the first batch."""
        if self._line is None:  # asked several times for each request, learned once for each batch
            self._line = self._fitted()
        return self._line

    def _fitted(self) -> tuple[float, float]:
        spread = self._weight * self._work2 - self._work**2
        if spread > 1e-9 * self._work2 * self._weight:
            slope = (self._weight * self._product - self._work * self._duration) / spread
            start = (self._duration - slope * self._work) / self._weight
            if slope >= 0 and start >= 0:
                return slope, start
            if slope < 0:
                return 0.0, self._duration / self._weight
        return self._product / self._work2, 0.0  # batches of one size, or a line below zero: through the origin

    def duration_s(self, work: float) -> float:
        """How long a batch of so much work will take."""
        slope, start = self.line()
        return slope * work + start

    def most_within(self, limit_s: float) -> float:
        """The most work that is done within `limit_s`; infinite where work costs nothing."""
        slope, start = self.line()
        return max(0.0, (limit_s - start) / slope) if slope else float("inf")
