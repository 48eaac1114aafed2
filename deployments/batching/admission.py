"""Which requests may wait: those that are answered within the latency target, counted in work and not in requests.

    seconds until an answer = the call at hand + what waits before it + its own work

Work is rows, times length where inputs are padded: what a batch costs is learned in that unit (`pace`).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from deployments.batching.pace import Pace
from deployments.errors import OverloadedError


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a batcher may do."""

    max_batch_size: int
    """Most rows of one call; a larger request is answered by several."""
    max_request_samples: int = 4096
    """Most rows of one request."""
    max_queue_size: int = 512
    """Most requests that wait; one more is refused."""
    latency_target_s: float | None = None
    """Within this much an admitted request shall be answered."""
    is_batched: bool = True
    """Whether the first dimension of every input and output is the batch. Where it is not, each request is a call of
    its own, whatever its shapes."""


class Admission:
    """Counts what waits and what is being done; belongs to one event loop."""

    def __init__(self, limits: Limits, pace: Pace, clock: Callable[[], float] | None = None) -> None:
        """`clock` tells seconds, the system's unless given: a simulation has its own."""
        self._limits = limits
        self._pace = pace
        self._clock = clock or time.monotonic
        self.num_waiting = 0
        self._rows = self._work = 0
        self._ends_s = 0.0
        """When the call at hand should be over, by the clock; 0 while there is none."""

    def add(self, rows: int, work: int) -> None:
        """Count a request that waits."""
        self.num_waiting += 1
        self._rows += rows
        self._work += work

    def remove(self, rows: int, work: int) -> None:
        """Count it no longer: a call has taken it, or its client has left."""
        self.num_waiting -= 1
        self._rows -= rows
        self._work -= work

    def begin(self, work: int) -> None:
        """A call of so much work begins."""
        self._ends_s = self._clock() + self._pace.duration_s(work)

    def rest(self) -> None:
        """No call is under way."""
        self._ends_s = 0.0

    def most_work(self) -> float:
        """Of a call that takes no more than half of the latency target; infinite without one."""
        target_s = self._limits.latency_target_s
        return math.inf if target_s is None else max(1.0, self._pace.most_within(target_s / 2))

    def check(self, rows: int | None = None, work: int = 0) -> None:
        """Refuse a request of so many rows and so much work that could not be answered in time; of unknown size, it
        counts as the average of those that wait. An idle model takes whatever comes.

        Raises:
            OverloadedError: as many requests wait as may, or it would be late.
        """
        if self.num_waiting >= self._limits.max_queue_size:
            raise OverloadedError(
                f"{self.num_waiting} requests wait already: try again later",
                retry_after_s=self._pace.duration_s(self._work),
            )
        target_s = self._limits.latency_target_s
        if target_s is None or not (self.num_waiting or self._ends_s):
            return
        if rows is None:
            rows, work = self._average()
        wait_s, batches = self._wait(self._rows + rows, self._work + work)
        usual_s = self._pace.duration_s(self._usual_work(self._rows + rows, self._work + work))
        left_s = self._ends_s - self._clock()
        # While a usual call is at hand, the next one may gather in any case: else the model would rest in between.
        if max(usual_s, left_s) + wait_s <= target_s or (left_s <= usual_s and batches <= 1):
            return
        raise OverloadedError(
            f"the {self.num_waiting} requests that wait leave this one no time within {target_s:g} s: try again later",
            retry_after_s=max(left_s, 0.0) + wait_s,
        )

    def _average(self) -> tuple[int, int]:
        number = max(1, self.num_waiting)
        return max(1, self._rows // number), max(1, self._work // number)

    def _wait(self, rows: int, work: int) -> tuple[float, float]:
        """Seconds that so much takes, and in how many calls."""
        slope, start = self._pace.line()
        batches = max(rows / self._limits.max_batch_size, work / self.most_work())
        return slope * work + start * batches, batches

    def _usual_work(self, rows: int, work: int) -> float:
        """Of the largest call that is made of requests such as these."""
        return min(self.most_work(), self._limits.max_batch_size * work / rows)
