"""What a signal usually is at this time of day and week, with what came and went by itself at that time.

A nightly job that raises an alert every night is learnt here and nowhere else, after three nights: that it begins is no
news then. An alert that fires never ends by it, and one that fires for longer than a day teaches nothing.
"""

from statistics import fmean
from typing import Any

from telemetry.detectors.detector import numbers
from telemetry.detectors.season import DAY_S, Season
from telemetry.watching.decision import State

NUM_STRETCHES = 24
BLOCK_S = 300.0
"""Seconds whose mean is one value of a stretch."""
LONGEST_S = DAY_S
NEAR_S = DAY_S / NUM_STRETCHES
"""It may come so much earlier or later than on other days."""


class Habit:
    """A `Season` of five-minute means, which waits for an alert's end before it learns of its time."""

    def __init__(self) -> None:
        self._season = Season(NUM_STRETCHES)
        self._block: list[float] = []
        self._began_s = 0.0
        self._held: list[tuple[float, float]] = []
        """Means of blocks that are not learnt yet, and when each began; those of an alert are until it ends."""

    def see(self, x: float, time_s: float) -> None:
        """Let `x` count towards the block that `time_s`, of the wall clock, is in."""
        if self._block and not 0 <= time_s - self._began_s < BLOCK_S:
            self._held.append((self._began_s, fmean(self._block)))
            self._block = []
        if not self._block:
            self._began_s = time_s
        self._block.append(x)

    def settle(self, state: State) -> None:
        """Learn what is held, unless an alert fires; forget it where one has fired for too long."""
        if state is not State.FIRING:
            for time_s, x in self._held:
                self._season.add(x, time_s)
            self._held.clear()
        elif self._held and self._began_s - self._held[0][0] > LONGEST_S:
            self._held.clear()

    def lowest(self, time_s: float) -> float | None:
        """The least that the times about this one usually bring; None while it is not known."""
        return min(self._usual(time_s), default=None)

    def highest(self, time_s: float) -> float | None:
        """The most that they bring."""
        return max(self._usual(time_s), default=None)

    def document(self) -> dict[str, Any]:
        """The season, and what is held."""
        return {
            "season": _rounded(self._season.state()),
            "times": [time_s for time_s, _ in self._held],
            "held": [x for _, x in self._held],
        }

    def restore(self, document: dict[str, Any]) -> None:
        """Take both up again."""
        self._season.restore(document["season"])
        self._held = list(zip(numbers(document, "times"), numbers(document, "held"), strict=True))

    def _usual(self, time_s: float) -> list[float]:
        pasts = [self._season.past(time_s + shift_s) for shift_s in (-NEAR_S, 0.0, NEAR_S)]
        return [past.usual() for past in pasts if past is not None]


def _rounded(state: dict[str, Any]) -> dict[str, Any]:
    """To four digits: weeks of means are many, and are written often."""
    pasts = {
        name: {
            place: {what: [float(f"{x:.4g}") for x in each] for what, each in past.items()}
            for place, past in state[name].items()
        }
        for name in ("by_day", "by_week")
    }
    return state | pasts
