"""A bound on the bytes that one direction of a node's link carries in a second, whichever versions they are of."""

import threading
import time
from collections.abc import Callable

MB_PER_S = 64.0
"""Unless told otherwise: half of what a link of 1 Gbit/s carries."""


class Rate:
    """Bytes are booked one after the other; the link is taken until what is booked has gone at its rate."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._free_s = 0.0
        self._lock = threading.Lock()

    def book(self, num_bytes: int, mb_per_s: float, *, longest_s: float = float("inf")) -> float | None:
        """Seconds until the bytes may go; nothing is booked, and none is given, where that is more than `longest_s`."""
        with self._lock:
            now_s = self._now_s()
            wait_s = max(0.0, self._free_s - now_s)
            if wait_s > longest_s:
                return None
            self._free_s = now_s + wait_s + num_bytes / (mb_per_s * 1e6)
            return wait_s
