"""What was seen over time, in bounded memory."""

from array import array
from bisect import bisect_left


class Track:
    """Times and values, the oldest dropped when they are older than the retention: amortised O(1)."""

    def __init__(self, retention_s: float, max_points: int) -> None:
        self.times = array("d")
        self.values = array("d")
        self._retention_s = retention_s
        self._max_points = max_points

    def append(self, time_s: float, value: float) -> None:
        """Add a point; one that is older than the last goes where it belongs."""
        if self.times and time_s < self.times[-1]:
            where = bisect_left(self.times, time_s)
            self.times.insert(where, time_s)
            self.values.insert(where, value)
        else:
            self.times.append(time_s)
            self.values.append(value)
        expired = bisect_left(self.times, self.times[-1] - self._retention_s)
        expired = max(expired, len(self.times) - self._max_points)
        if expired > len(self.times) // 8:
            del self.times[:expired]
            del self.values[:expired]
