"""A clock that only goes on, made of one that somebody may set."""

MOST_AT_ONCE_S = 90.0
"""A wall clock that goes further between two looks was set, or the process slept: nobody watched meanwhile."""


class SteadyClock:
    """Adds up how far the wall clock goes, without its steps back and its leaps."""

    def __init__(self, wall_s: float) -> None:
        self._wall_s = self._steady_s = wall_s

    def at(self, wall_s: float) -> float:
        """The steady time at which the wall clock shows `wall_s`; ask in the order of time."""
        self._steady_s += min(max(0.0, wall_s - self._wall_s), MOST_AT_ONCE_S)
        self._wall_s = wall_s
        return self._steady_s
