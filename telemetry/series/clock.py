"""A sender's clock, beside the collector's."""

MAX_AHEAD_S = 10.0
"""A point from further in the future comes from a wrong clock."""
MAX_BEHIND_S = 300.0
"""A point from further in the past does too: senders try to deliver for less than that."""


SURE_NS, JITTER_NS = 500_000_000, 250_000_000
"""Apart from each other by so much at least, two late reports tell whether a clock was set back; they may have been
on the way longer, one than the other, by so much."""


class SenderClock:
    """What one sender's times are corrected by: nothing while they are within the limits of the collector's.

    A correction stays the same for as long as it serves, so that intervals between points are the sender's own.
    """

    def __init__(self) -> None:
        self.offset_ns = 0
        """Nanoseconds to add to the sender's times."""
        self._late: tuple[int, int] | None = None
        """The time of a report behind one that came before it, and when it came; None where the last was in order."""

    def see(self, time_ns: int, now_ns: int) -> int:
        """Take one point's time and return the offset for it; beyond the limits, it counts as from now."""
        if not is_near(time_ns + self.offset_ns, now_ns):
            self.offset_ns = 0 if is_near(time_ns, now_ns) else now_ns - time_ns
        return self.offset_ns

    def see_in_order(self) -> None:
        """The last report is later than all before it."""
        self._late = None

    def see_behind(self, time_ns: int, last_ns: int, now_ns: int) -> int:
        """Take the time of a report that is well behind another one that came before, of `last_ns` by the collector's
        clock; return the offset for it.

        Reports that were held up come in a burst, or between others that are in order. Where one late report follows
        the other at the pace of its own times, the clock was set back: then the latter counts as from now.
        """
        late_ns, came_ns = self._late or (time_ns, now_ns)
        sent_ns, took_ns = time_ns - late_ns, now_ns - came_ns
        if abs(sent_ns - took_ns) > JITTER_NS + took_ns // 5:
            self._late = time_ns, now_ns
        elif took_ns >= SURE_NS:
            self._late, self.offset_ns = None, max(now_ns, last_ns + 1) - time_ns
        else:
            self._late = late_ns, came_ns
        return self.offset_ns


def is_near(time_ns: int, now_ns: int) -> bool:
    """Whether a time is within the limits."""
    return -MAX_BEHIND_S * 1e9 <= time_ns - now_ns <= MAX_AHEAD_S * 1e9
