"""How much a query may take."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from telemetry.queries.errors import QueryError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one query."""

    max_steps: int = 11_000
    """Points of each series in an answer."""
    max_series: int = 20_000
    max_samples: int = 20_000_000
    """Recorded samples that are looked at, each as often as it is."""
    timeout_s: float = 30.0
    max_query: int = 8192
    """Characters."""
    max_nesting: int = 500
    """Brackets and operators."""


@dataclass(kw_only=True)
class Budget:
    """What is left of the limits, for one query."""

    limits: Limits
    timeout_s: float
    clock: Callable[[], float] = time.monotonic
    _num_samples: int = 0
    _end_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._end_s = self.clock() + min(self.timeout_s, self.limits.timeout_s)

    def take_samples(self, num: int) -> None:
        """Look at this many further samples.

        Raises:
            QueryError: that is too many, or it is too late.
        """
        self._num_samples += num
        if self._num_samples > self.limits.max_samples:
            raise QueryError(
                "execution",
                "query processing would load too many samples into memory in query execution: "
                f"at most {self.limits.max_samples}; ask for less time, fewer series or a longer step",
            )
        self.check_time()

    def check_series(self, num: int) -> None:
        """Have this many series at a time.

        Raises:
            QueryError: that is too many, or it is too late.
        """
        if num > self.limits.max_series:
            raise QueryError(
                "execution", f"a query must not select more than {self.limits.max_series} series, got {num}"
            )
        self.check_time()

    def check_time(self) -> None:
        """Be done in time.

        Raises:
            QueryError: it is too late.
        """
        if self.clock() > self._end_s:
            raise QueryError("timeout", "query timed out in expression evaluation")
