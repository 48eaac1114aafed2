"""How far a proportion, such as failed requests among all, surely lies above what it was."""

import math
from typing import NamedTuple

from telemetry.detectors.detector import DetectorError, State, numbers, require_finite


class Proportion(NamedTuple):
    """`num_hits` of `num_trials`."""

    num_hits: int
    num_trials: int


class ProportionShift:
    """(lower Wilson bound - baseline) / max(floor, baseline / 2), not below 0; a score of 1 is worth an alert.

    By the lower bound (Wilson 1927, doi:10.1080/01621459.1927.10502953), one failure of two requests proves little, 300
    of 1000 much. The baseline is the proportion over past trials, whose weight halves every `half_life` proportions
    learnt. Before `warmup` of them nothing is unusual; with a `warmup` of 0 the baseline starts at 0.
    """

    def __init__(
        self, *, z: float = 2.6, floor: float = 0.05, half_life: float = 120.0, warmup: int = 1, min_hits: int = 5
    ) -> None:
        self._z = z
        self._floor = floor
        self._kept = 0.5 ** (1 / half_life)
        self._warmup = warmup
        self._min_hits = min_hits
        self._num_hits = 0.0
        self._num_trials = 0.0
        self._num_learnt = 0

    def score_one(self, x: Proportion, time_s: float) -> float:
        """How far the proportion is above the baseline, by what its number of trials can prove."""
        _require_proportion(x, time_s)
        if self._num_learnt < self._warmup or x.num_hits < self._min_hits:
            return 0.0
        baseline = self._baseline()
        return max(0.0, (wilson_lower(x, self._z) - baseline) / max(self._floor, baseline / 2))

    def learn_one(self, x: Proportion, time_s: float) -> None:
        """Let `x` count towards the baseline."""
        _require_proportion(x, time_s)
        self._num_hits = self._num_hits * self._kept + x.num_hits
        self._num_trials = self._num_trials * self._kept + x.num_trials
        self._num_learnt = min(self._num_learnt + 1, self._warmup)

    def expected(self, time_s: float) -> tuple[float, float]:  # noqa: ARG002 - the same at all times
        """From 0 to the baseline."""
        return 0.0, self._baseline()

    def state(self) -> State:
        """What counts towards the baseline: hits, trials, proportions learnt."""
        return {"counts": [self._num_hits, self._num_trials, self._num_learnt]}

    def restore(self, state: State) -> None:
        """Take the counts up again."""
        counts = numbers(state, "counts", num=3)
        if not 0 <= counts[0] <= counts[1]:
            raise DetectorError(f"state.counts must be hits, trials and proportions learnt, got {counts}; learn anew")
        self._num_hits, self._num_trials, self._num_learnt = counts[0], counts[1], int(counts[2])

    def _baseline(self) -> float:
        return self._num_hits / self._num_trials if self._num_trials else 0.0


def _require_proportion(x: Proportion, time_s: float) -> None:
    require_finite(x.num_trials, time_s)
    if not 0 <= x.num_hits <= x.num_trials:
        raise DetectorError(f"a proportion must have 0 <= num_hits <= num_trials, got {x.num_hits} of {x.num_trials}")


def wilson_lower(x: Proportion, z: float) -> float:
    """The lower bound of Wilson's score interval; 0 of no trials."""
    if x.num_trials == 0:
        return 0.0
    ratio, spread = x.num_hits / x.num_trials, z * z / x.num_trials
    centre = ratio + spread / 2
    half = z * math.sqrt(ratio * (1 - ratio) / x.num_trials + spread / x.num_trials / 4)
    return max(0.0, (centre - half) / (1 + spread))
