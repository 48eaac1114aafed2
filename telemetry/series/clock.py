"""A sender's clock, beside the collector's."""

MAX_AHEAD_S = 10.0
"""A point from further in the future comes from a wrong clock."""
MAX_BEHIND_S = 300.0
"""A point from further in the past does too: senders try to deliver for less than that."""


class SenderClock:
    """What one sender's times are corrected by: nothing while they are within the limits of the collector's.

    A correction stays the same for as long as it serves, so that intervals between points are the sender's own.
    """

    def __init__(self) -> None:
        self.offset_ns = 0
        """Nanoseconds to add to the sender's times."""

    def see(self, time_ns: int, now_ns: int) -> int:
        """Take one point's time and return the offset for it; beyond the limits, it counts as from now."""
        if not is_near(time_ns + self.offset_ns, now_ns):
            self.offset_ns = 0 if is_near(time_ns, now_ns) else now_ns - time_ns
        return self.offset_ns


def is_near(time_ns: int, now_ns: int) -> bool:
    """Whether a time is within the limits."""
    return -MAX_BEHIND_S * 1e9 <= time_ns - now_ns <= MAX_AHEAD_S * 1e9
