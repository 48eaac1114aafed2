"""The requests that wait, by priority, and as many of them as one call may take."""

import math
from heapq import heapify, heappop, heappush
from itertools import count

from deployments.batching.admission import Admission, Limits
from deployments.batching.padding import Padding, alike
from deployments.batching.waiting import Waiting


class Queue:
    """A lower priority goes first, and of two alike the one that came first. `admission` counts what is in it."""

    def __init__(self, limits: Limits, admission: Admission, padding: Padding | None) -> None:
        self._max_rows = limits.max_batch_size
        self._has_target = limits.latency_target_s is not None
        self._admission = admission
        self._padding = padding
        self._entries: list[tuple[int, int, Waiting]] = []
        self._numbers = count()

    def put(self, priority: int, waiting: Waiting) -> None:
        """Let a request wait."""
        heappush(self._entries, (priority, next(self._numbers), waiting))
        self._admission.add(waiting.rows, waiting.work)

    def take(self, batch: list[Waiting], *, alone: bool) -> None:
        """Move the first request and those behind it that stack with it into `batch`, up to the largest one; the first
        by itself where it must go `alone`.
        """
        entries = self._entries
        passed: list[tuple[int, int, Waiting]] = []
        most_rows = self._max_rows
        most_work = self._admission.most_work() if self._has_target else math.inf
        rows, longest = 0, 0
        try:
            while entries and rows < most_rows and rows * longest < most_work and len(passed) < most_rows:
                waiting = entries[0][2]
                if waiting.taken or waiting.answer.done():  # its client has gone, or its time is up
                    heappop(entries)
                    continue
                longer = max(longest, waiting.length)
                if batch and not (
                    rows + waiting.rows <= most_rows
                    and (rows + waiting.rows) * longer <= most_work
                    and self._stack_up(batch[0], waiting)
                ):
                    passed.append(heappop(entries))
                    continue
                heappop(entries)
                batch.append(waiting)
                rows, longest = rows + waiting.rows, longer
                waiting.taken = True
                self._admission.remove(waiting.rows, waiting.work)
                if alone:
                    break
        finally:
            for entry in passed:
                heappush(entries, entry)
        if self._has_target:
            self._admission.begin(rows * longest)

    def forget(self, waiting: Waiting) -> None:
        """Let go of a request that no call has taken, and now and then of the place it had."""
        waiting.taken = True
        self._admission.remove(waiting.rows, waiting.work)
        if len(self._entries) > 2 * self._admission.num_waiting + 64:  # mostly forgotten ones
            self._entries = [entry for entry in self._entries if not entry[2].taken]
            heapify(self._entries)

    def empty(self) -> list[Waiting]:
        """Everyone who still waits, in no order; who waits for the answer forgets the request."""
        left = [waiting for *_, waiting in self._entries if not waiting.taken]
        self._entries.clear()
        return left

    def _stack_up(self, first: Waiting, other: Waiting) -> bool:
        """Whether the two differ in the batch dimension alone, and where there is padding, a little in length."""
        if first.inputs.keys() != other.inputs.keys() or not alike(first.length, other.length):
            return False
        if self._padding and not self._padding.is_exact(other.inputs):
            return False
        padded = self._padding.inputs if self._padding else ()
        return all(
            array.shape[1:] == other.inputs[name].shape[1:]
            or (name in padded and array.shape[2:] == other.inputs[name].shape[2:])
            for name, array in first.inputs.items()
        )
