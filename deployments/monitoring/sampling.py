"""Which requests are looked at: never more than so many rows a second, of the CPU never more than a hundredth."""

import time

ROWS_PER_S = 50.0
"""Most rows a second that a replica looks at."""
ROWS_OF_REQUEST = 8
"""Most rows of one request, so that a large one does not stand for all clients."""
CPU_SHARE = 0.01
"""Most of one CPU that looking at rows may take."""


class RowRate:
    """Lets so many rows a second pass, and fewer where a row is dear; of one thread, but for `cost`."""

    def __init__(self, rows_per_s: float = ROWS_PER_S) -> None:
        self._most_per_s = self._rows_per_s = rows_per_s
        self._next_s = 0.0

    def is_open(self) -> bool:
        """Whether rows may be taken now; a tenth of a microsecond, for every request asks."""
        return time.monotonic() >= self._next_s

    def left_s(self) -> float:
        """Seconds until rows may be taken."""
        return max(0.0, self._next_s - time.monotonic())

    def took(self, num_rows: int) -> None:
        """Rows were taken; the next are once their time is over."""
        self._next_s = time.monotonic() + num_rows / self._rows_per_s

    def cost(self, cpu_s: float, num_rows: int) -> None:
        """So much CPU went into so many rows: the rate is what a hundredth of a CPU allows."""
        if num_rows:
            self._rows_per_s = min(self._most_per_s, CPU_SHARE * num_rows / max(cpu_s, 1e-9))
