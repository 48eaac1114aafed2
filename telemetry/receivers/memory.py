"""How much memory the requests that are being received may hold, all together."""

import threading
from types import TracebackType
from typing import Self

from telemetry.receivers.errors import BusyError


class MemoryLimit:
    """Bytes that may be held at once; used from the event loop and from the threads that decompress."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        """Held now."""
        self._lock = threading.Lock()

    def reserve(self, num_bytes: int) -> None:
        """Hold some more.

        Raises:
            BusyError: that would be too many.
        """
        with self._lock:
            if self.num_bytes + num_bytes > self.max_bytes:
                raise BusyError(
                    f"requests under way must not hold more than {self.max_bytes} bytes of memory, "
                    f"got {num_bytes} on top of {self.num_bytes}; send it again"
                )
            self.num_bytes += num_bytes

    def release(self, num_bytes: int) -> None:
        """Hold some less."""
        with self._lock:
            self.num_bytes -= num_bytes


class Held:
    """What one request holds, given back at its end."""

    def __init__(self, limit: MemoryLimit) -> None:
        self._limit = limit
        self._num_bytes = 0

    def reserve(self, num_bytes: int) -> None:
        """Hold some more, before it is there.

        Raises:
            BusyError: there is no room for it.
        """
        self._limit.reserve(num_bytes)
        self._num_bytes += num_bytes

    def release(self, num_bytes: int) -> None:
        """Give back some of it."""
        self._limit.release(num_bytes)
        self._num_bytes -= num_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release(self._num_bytes)
