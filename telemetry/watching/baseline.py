"""What is usual of one number: of the last minutes for what comes suddenly, of the last day for what comes slowly."""

from collections import deque
from typing import Any

from telemetry.detectors.detector import numbers
from telemetry.detectors.robust_z import RobustZScore
from telemetry.watching.anchor import Anchor
from telemetry.watching.decision import State

LAG_S, LAG_VALUES = 10.0, 5
"""How old a value must be to be learnt, in seconds and in values: an alert takes less."""
MOST_HELD = 2000
SLOW_SHARE = 0.75
"""Of the ratio by which a sudden rise is unusual, the share that is where it lasts: medians wander less."""


class Baseline:
    """Scores a number by both records; 1.0 is unusual."""

    def __init__(self, *, ratio: float, shift: float, threshold: float = 8.0, window: int = 240) -> None:
        self._sudden = RobustZScore(window=window, threshold=threshold, least_ratio=ratio, least_shift=shift)
        self._slow = Anchor(ratio=SLOW_SHARE * ratio, shift=shift)
        self._held: deque[tuple[float, float]] = deque()
        self._fires = False

    def score(self, x: float, now_s: float, weight: float = 1.0) -> float:
        """How unusual `x` is; as a sudden one, it counts `weight`."""
        self._slow.see(x, now_s)
        if not self._fires:
            self._held.append((now_s, x))
        return max(weight * self._sudden.score_one(x, now_s), self._slow.score())

    def expected(self, now_s: float) -> tuple[float, float]:
        """The range in which values usually lie, from the lower of both records."""
        low, high = self._sudden.expected(now_s)
        usual = self._slow.usual()
        return (low, high) if usual is None or usual >= low else (usual, max(usual, min(high, 2.0 * usual)))

    def settle(self, state: State, now_s: float) -> None:
        """Learn what is old enough, where the signal is at rest; forget what is held where it fires."""
        self._fires = state is State.FIRING
        if self._fires:
            self._held.clear()
        learns = state in (State.OK, State.RESOLVED)
        self._slow.settle(learns=learns, fires=self._fires)
        while learns and len(self._held) > LAG_VALUES and now_s - self._held[0][0] >= LAG_S:
            time_s, x = self._held.popleft()
            self._sudden.learn_one(x, time_s)
        while len(self._held) > MOST_HELD:
            self._held.popleft()

    def document(self) -> dict[str, Any]:
        """Both records, and what is held, with its times."""
        return {
            "sudden": self._sudden.state(),
            "slow": self._slow.document(),
            "times": [time_s for time_s, _ in self._held],
            "held": [x for _, x in self._held],
        }

    def restore(self, document: dict[str, Any]) -> None:
        """Take both records up again."""
        self._sudden.restore(document["sudden"])
        self._slow.restore(document["slow"])
        self._held = deque(zip(numbers(document, "times"), numbers(document, "held"), strict=True))
