"""Stops of a service's traffic that ended by themselves: of traffic that goes on and off, a stop is usual.

Once some have come and gone in the last days, one that lasts
no longer than they did is no news; one that lasts on is, so an outage of such traffic is told late, but told.
"""

from collections import deque
from typing import Any

from telemetry.detectors.detector import numbers

DAYS_S, MOST = 8 * 86400.0, 50
"""For how long a stop is remembered, and how many are."""
FEWEST = 3
"""Stops from which they are a habit: until then each is told."""
LONGER = 2.0
"""Times the longest of them that another may last. Of stops of random (exponential) length, the next one exceeds it
with probability 2 / ((n + 1) (n + 2)) after n of them: 1 in 10 after three, 1 in 230 after twenty."""
LONGEST_S = 12 * 3600.0
"""What lasted longer was no habit of a day."""


class Stops:
    """Knows when the present stop began, from what rate, and how long others lasted."""

    def __init__(self) -> None:
        self._ended: deque[tuple[float, float]] = deque(maxlen=MOST)
        """When each ended, and how long it had lasted."""
        self._began: tuple[float, float] | None = None
        """When the present one began, and the rate that was usual then."""

    def begin(self, now_s: float, usual: float) -> None:
        """The traffic stopped, unless it had before."""
        self._began = self._began or (now_s, usual)

    def end(self, now_s: float) -> None:
        """It is back, if it had stopped."""
        if self._began is not None and now_s - self._began[0] <= LONGEST_S:
            self._ended.append((now_s, now_s - self._began[0]))
        self._began = None

    def forget(self) -> None:
        """The present stop is none: this is how it is now."""
        self._began = None

    @property
    def usual(self) -> float | None:
        """The rate before the present stop; None where there is none."""
        return None if self._began is None else self._began[1]

    def is_habit(self, now_s: float) -> bool:
        """Whether the present stop is like others before it, so far."""
        lasted = self._lasted(now_s)
        return self._began is not None and len(lasted) >= FEWEST and now_s - self._began[0] <= LONGER * max(lasted)

    def outlasts(self, now_s: float) -> bool:
        """Whether the present stop is longer than a habit is."""
        return self._began is not None and len(self._lasted(now_s)) >= FEWEST and not self.is_habit(now_s)

    def document(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {"ended": [list(column) for column in zip(*self._ended, strict=True)], "began": list(self._began or ())}

    def restore(self, document: dict[str, Any]) -> None:
        """Take it up again."""
        if document["ended"]:
            self._ended.extend(zip(*document["ended"], strict=True))
        began = numbers(document, "began")
        self._began = (began[0], began[1]) if began else None

    def _lasted(self, now_s: float) -> list[float]:
        return [seconds for ended_s, seconds in self._ended if now_s - ended_s <= DAYS_S]
