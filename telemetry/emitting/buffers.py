"""What waits for one collector: the newest totals, and a bounded queue of spans or log records."""

import threading
from collections import deque
from collections.abc import Sequence

from telemetry.emitting.protobuf import SCOPE, field

MAX_ENDED = 8
"""Last totals of versions that are kept while no collector takes them."""


class Totals:
    """The newest export of metrics; one that was never sent gives way, since totals only grow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: tuple[bytes, int] | None = None
        self._ended: deque[bytes] = deque(maxlen=MAX_ENDED)
        self._taken: list[bytes] = []
        self.lacks_constants = True
        """Whether the collector may not have what is sent seldom."""
        self._has_constants = False

    def offer(self, body: bytes, num_points: int, *, has_constants: bool) -> None:
        """Put an export in place of the one before."""
        with self._lock:
            if self._newest is not None and self._has_constants and not has_constants:
                self.lacks_constants = True
            self._newest, self._has_constants = (body, num_points), has_constants
            if has_constants:
                self.lacks_constants = False

    def keep(self, body: bytes) -> None:
        """Last totals of a version: they go with the next export that is taken."""
        with self._lock:
            self._ended.append(body)

    def take(self) -> tuple[bytes, int] | None:
        """The export to send now, if there is a new one."""
        with self._lock:
            if self._newest is None:
                return None
            (body, num_points), self._newest = self._newest, None
            self._taken = list(self._ended)
            return b"".join((*self._taken, body)), num_points

    def settle(self, *, delivered: bool, retry: bool) -> None:  # noqa: ARG002 - the next one is newer
        """What was taken has been sent, or has not: the next export has all of it, but for the last totals."""
        with self._lock:
            if delivered:
                for each in self._taken:
                    if each in self._ended:
                        self._ended.remove(each)
            else:
                self.lacks_constants = True
            self._taken = []


class Queue:
    """Encoded spans or log records, each under the resource it belongs to; what does not fit is refused."""

    def __init__(self, max_size: int, max_batch: int) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[bytes, Sequence[bytes]]] = deque()
        self._max_size = max_size
        self._max_batch = max_batch
        self._taken: list[tuple[bytes, Sequence[bytes]]] = []
        self._num_taken = 0
        self.size = 0
        """Records that wait, or are being sent."""

    def put(self, resource: bytes, records: Sequence[bytes]) -> bool:
        """Let the records wait, each a field of an export request; not one of them where there is no room for all."""
        with self._lock:
            if self.size + len(records) > self._max_size:
                return False
            self.size += len(records)
            self._waiting.append((resource, records))
            return True

    @property
    def is_due(self) -> bool:
        """Whether a whole batch waits."""
        return self.size >= self._max_batch

    def take(self) -> tuple[bytes, int] | None:
        """A batch as the body of an export request, if anything waits."""
        with self._lock:
            while self._waiting and self._num_taken < self._max_batch:
                self._taken.append(self._waiting.popleft())
                self._num_taken += len(self._taken[-1][1])
            if not self._taken:
                return None
        by_resource: dict[bytes, list[bytes]] = {}
        for resource, records in self._taken:
            by_resource.setdefault(resource, []).extend(records)
        body = b"".join(_under(resource, b"".join(records)) for resource, records in by_resource.items())
        return body, self._num_taken

    def settle(self, *, delivered: bool, retry: bool) -> None:
        """What was taken has been sent, or is given up; or else it is the next to be taken again."""
        with self._lock:
            if not delivered and retry:
                self._waiting.extendleft(reversed(self._taken))
            else:
                self.size -= self._num_taken
            self._taken, self._num_taken = [], 0

    def clear(self) -> int:
        """Give up all that waits; how many records that were."""
        with self._lock:
            number, self.size = self.size, 0
            self._waiting.clear()
            self._taken, self._num_taken = [], 0
            return number


def _under(resource: bytes, records: bytes) -> bytes:
    """The records of one resource, as a part of an export request: of spans and of log records it looks the same."""
    return field(1, field(1, resource) + field(2, SCOPE + records))
