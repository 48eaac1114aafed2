"""What a level was over the last day, against which hours-long ramps show."""

import math
from collections import deque
from statistics import median
from typing import Any

from telemetry.detectors.detector import numbers
from telemetry.detectors.window import SortedWindow

MINUTE_S, NUM_IN_MINUTE = 60.0, 3
"""A minute is at least so long and at least of so many values."""
BLOCK = 5
"""Minutes that one entry of the day's record stands for."""
DAY, EARLY = 288, 12
"""Blocks that are remembered, and how few are too few, so that single minutes are asked."""
HELD = 10
"""Minutes after which a minute may be learnt."""
FEWEST = 3
"""Minutes before anything is said."""
QUANTILE = 0.15
"""Of the record: what is usual when it is low. A ramp that begins with the record moves it by that share of its own
rise; of its median, it would move half of it."""


class Anchor:
    """(level - anchor) / max(ratio x anchor, shift): the total drift that is allowed in a day.

    The level is the lower of the last two minutes' medians, so that it takes a lasting rise. Minutes are learnt when
    they are ten minutes old, and none that is held as an alert fires.
    """

    def __init__(self, *, ratio: float, shift: float) -> None:
        self._ratio, self._shift = ratio, shift
        self._minute: list[float] = []
        self._minute_began_s = -math.inf
        self._last: deque[float] = deque(maxlen=2)
        self._held: deque[float] = deque()
        self._learnt = SortedWindow(EARLY * BLOCK)
        self._block: list[float] = []
        self._blocks = SortedWindow(DAY)
        self._usual: float | None = None
        self._fires = False

    def see(self, x: float, now_s: float) -> None:
        """Let `x` count towards the present level."""
        if not self._minute:
            self._minute_began_s = now_s
        self._minute.append(x)
        if len(self._minute) < NUM_IN_MINUTE or now_s - self._minute_began_s < MINUTE_S:
            return
        level = median(self._minute)
        self._minute = []
        self._last.append(level)
        if not self._fires:
            self._held.append(level)
            self._usual = None

    def score(self) -> float:
        """1.0 where the level has used up what it may drift."""
        usual = self.usual()
        if usual is None or len(self._last) < 2:
            return 0.0
        allowed = max(self._ratio * abs(usual), self._shift)
        return max(0.0, (min(self._last) - usual) / allowed) if allowed else 0.0

    def usual(self) -> float | None:
        """What is usual when it is low; None before it is known."""
        if self._usual is None:
            if len(self._blocks) >= EARLY:
                self._usual = self._blocks.quantile(QUANTILE)
            elif len(self._learnt) + len(self._held) >= FEWEST:
                minutes = SortedWindow(EARLY * BLOCK + 6 * HELD)
                minutes.replace([*self._learnt, *self._held])
                self._usual = minutes.quantile(QUANTILE)
        return self._usual

    def settle(self, *, learns: bool, fires: bool) -> None:
        """Learn minutes that are old enough, if any may be learnt; forget those that are held where an alert fires."""
        self._fires = fires
        if fires:
            self.usual()  # as it was before what is forgotten now
            self._held.clear()
            return
        while learns and len(self._held) > HELD:
            self._learn(self._held.popleft())
        while len(self._held) > 6 * HELD:
            self._held.popleft()

    def document(self) -> dict[str, Any]:
        """The record."""
        return {
            "learnt": list(self._learnt),
            "block": self._block,
            "blocks": list(self._blocks),
            "held": list(self._held),
            "usual": [] if self._usual is None else [self._usual],
        }

    def restore(self, document: dict[str, Any]) -> None:
        """Take the record up again."""
        learnt, block, blocks, held, usual = (
            numbers(document, name) for name in ("learnt", "block", "blocks", "held", "usual")
        )
        self._learnt.replace(learnt)
        self._blocks.replace(blocks)
        self._block, self._held = block, deque(held)
        self._usual = usual[0] if usual else None

    def _learn(self, level: float) -> None:
        self._learnt.add(level)
        self._block.append(level)
        if len(self._block) == BLOCK:
            self._blocks.add(median(self._block))
            self._block = []
        self._usual = None
