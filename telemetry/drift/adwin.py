"""A window that grows while its numbers are alike and drops its older part where that is unlike the newer.

ADWIN2 (Bifet & Gavalda 2007, doi:10.1137/1.9781611972771.42): numbers in [0, 1] are kept as an exponential
histogram, at most `PER_SIZE` buckets of each power of two, and each border between buckets is tried.
"""

import math
from dataclasses import dataclass
from typing import Any

PER_SIZE = 5
"""Buckets of one size; one more, and the two oldest become one of the next."""
FEWEST = 5
"""Numbers that each part must have."""
EVERY = 32
"""Numbers from one trial of the borders to the next."""


@dataclass(slots=True)
class _Bucket:
    size: int
    total: float


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What was dropped, and what is left."""

    num_before: int
    mean_before: float
    num_after: int
    mean_after: float


class Adwin:
    """Numbers in [0, 1] in; memory grows with the logarithm of their number."""

    def __init__(self, delta: float = 0.002) -> None:
        """`delta` bounds the chance that a trial drops anything of numbers that are alike."""
        self._delta = delta
        self._buckets: list[_Bucket] = []
        self._total, self._num, self._squares = 0.0, 0, 0.0
        self._untried = 0

    @property
    def num(self) -> int:
        """Numbers in the window."""
        return self._num

    @property
    def mean(self) -> float:
        """Their mean; NaN where there are none."""
        return self._total / self._num if self._num else math.nan

    def take(self, value: float) -> Cut | None:
        """Take a number in [0, 1]; what was dropped for it, if anything was.

        Raises:
            ValueError: it lies elsewhere.
        """
        if not 0 <= value <= 1:
            raise ValueError(f"value must lie in [0, 1], got {value}")
        self._buckets.append(_Bucket(1, value))
        self._total, self._num = self._total + value, self._num + 1
        self._squares += value * value
        self._merge()
        self._untried += 1
        if self._untried < EVERY:
            return None
        self._untried = 0
        return self._cut()

    def state(self) -> dict[str, Any]:
        """What it takes to go on after a restart, as JSON says it."""
        return {
            "buckets": [[bucket.size, bucket.total] for bucket in self._buckets],
            "squares": self._squares,
            "untried": self._untried,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._buckets = [_Bucket(int(size), float(total)) for size, total in state["buckets"]]
        self._num = sum(bucket.size for bucket in self._buckets)
        self._total = sum(bucket.total for bucket in self._buckets)
        self._squares, self._untried = float(state["squares"]), int(state["untried"])

    def _merge(self) -> None:
        """Buckets ascend in age from the end; the two oldest of a size that has too many become one."""
        end, size = len(self._buckets), 1
        while True:
            begin = end
            while begin and self._buckets[begin - 1].size == size:
                begin -= 1
            if end - begin <= PER_SIZE:
                return
            oldest, next_ = self._buckets[begin], self._buckets[begin + 1]
            self._buckets[begin : begin + 2] = [_Bucket(2 * size, oldest.total + next_.total)]
            end, size = begin + 1, 2 * size

    def _cut(self) -> Cut | None:
        """Drop what is older than the border at which both parts are most surely unlike, if they are at any."""
        num, total, found = 0, 0.0, None
        for at, bucket in enumerate(self._buckets[:-1]):
            num, total = num + bucket.size, total + bucket.total
            rest = self._num - num
            if num < FEWEST or rest < FEWEST:
                continue
            before, after = total / num, (self._total - total) / rest
            excess = abs(before - after) - self._bound(num, rest)
            if excess > 0 and (found is None or excess > found[0]):
                cut = Cut(num_before=num, mean_before=before, num_after=rest, mean_after=after)
                found = excess, at + 1, cut
        if found is None:
            return None
        _, border, cut = found
        kept = 1 - cut.num_before / self._num
        self._buckets = self._buckets[border:]
        self._num, self._total, self._squares = cut.num_after, cut.mean_after * cut.num_after, self._squares * kept
        return cut

    def _bound(self, one: int, other: int) -> float:
        """Difference of means that chance exceeds with probability `delta` at no border (the paper's section 3)."""
        harmonic = 1 / (1 / one + 1 / other)
        variance = max(0.0, self._squares / self._num - self.mean**2)
        level = math.log(2 * max(1.0, math.log(self._num)) / self._delta)
        return math.sqrt(2 / harmonic * variance * level) + 2 / (3 * harmonic) * level
