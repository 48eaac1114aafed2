"""Whether values rise or fall steadily, how fast, and when they will reach a limit: Theil and Sen's slope."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from telemetry.detectors.detector import LARGEST_SCORE, DetectorError, State, numbers, require_finite

KENDALL = 4.0
"""Standard deviations of Kendall's statistic from which a trend is one: by chance, 3 in 100,000."""
SPREADS = 3.0
"""Robust standard deviations about the line that a rise must exceed."""
WARMUP = 10
POINT = ("began_s", "mean", "num")
MAD_OF_NORMAL = 1.4826
"""Standard deviation of the normal distribution over its median absolute deviation."""

Floats = NDArray[np.float64]


class Trend:
    """Rise along a line / max(3 spreads about it, least ratio x |where it began|, least shift), where there is a line.

    Its slope is the median of the slopes between all pairs of points (Theil 1950; Sen 1968,
    doi:10.1080/01621459.1968.10480934): outliers of up to 29 % do not move it. That there is one at all is Kendall's
    test (Kendall 1938, doi:10.1093/biomet/30.1-2.81). Values of `window_s` are kept as the means of `num_points` equal
    stretches; after a clock that went back they begin anew. The rise is that to the value scored, if this is lower than
    the line: a value back where the line began scores 0, also where nothing was learnt since.
    """

    def __init__(
        self,
        *,
        window_s: float = 3600.0,
        num_points: int = 40,
        least_ratio: float = 0.1,
        least_shift: float = 0.0,
        side: Literal["above", "below"] = "above",
    ) -> None:
        self._window_s = window_s
        self._spacing_s = window_s / num_points
        self._least_ratio = least_ratio
        self._least_shift = least_shift
        self._sign = 1.0 if side == "above" else -1.0
        self._points: deque[tuple[float, float, float]] = deque()
        self._line: _Line | None = None

    def score_one(self, x: float, time_s: float) -> float:
        """How far the values have risen to `x`, 1.0 at the threshold; 0 before `10` points are there."""
        require_finite(x, time_s)
        line = self._fitted()
        if line is None:
            return 0.0
        rise = self._sign * (min if self._sign > 0 else max)(line.rise, x - line.start)
        if rise <= 0:
            return 0.0
        allowed = max(SPREADS * line.spread, self._least_ratio * abs(line.start), self._least_shift)
        sureness = self._sign * line.kendall / KENDALL
        score = rise / allowed if allowed else LARGEST_SCORE
        return max(0.0, min(score, LARGEST_SCORE if sureness >= 1 else sureness))

    def learn_one(self, x: float, time_s: float) -> None:
        """Let `x` count towards the last point; points older than the window are forgotten."""
        require_finite(x, time_s)
        points = self._points
        if points and time_s < points[-1][0]:
            points.clear()
        if points and time_s - points[-1][0] < self._spacing_s:
            began_s, mean, num = points[-1]
            points[-1] = began_s, mean + (x - mean) / (num + 1), num + 1
        else:
            points.append((time_s, x, 1))
            self._line = None
        while points[0][0] < time_s - self._window_s:
            points.popleft()
            self._line = None

    def slope(self) -> float | None:
        """What values rise by each second; None before there are enough points."""
        line = self._fitted()
        return None if line is None else line.slope

    def seconds_until(self, limit: float) -> float | None:
        """How long until the line reaches `limit`, from its end on; None where it does not lead there."""
        line = self._fitted()
        if line is None or abs(line.kendall) < KENDALL or not line.slope:
            return None
        left_s = (limit - line.start - line.rise) / line.slope
        return left_s if left_s >= 0 else None

    def expected(self, time_s: float) -> tuple[float, float]:  # noqa: ARG002 - where the line began
        """Where the line began, within 3 spreads; the last value where there is no line."""
        line = self._fitted()
        if line is None:
            last = self._points[-1][1] if self._points else 0.0
            return last, last
        return line.start - SPREADS * line.spread, line.start + SPREADS * line.spread

    def state(self) -> State:
        """The points: when each began, its mean, how many values it is of."""
        return {name: [point[place] for point in self._points] for place, name in enumerate(POINT)}

    def restore(self, state: State) -> None:
        """Take the points up again."""
        began_s, means, nums = (numbers(state, name) for name in POINT)
        if not len(began_s) == len(means) == len(nums):
            raise DetectorError("state.began_s, .mean and .num must be equally long; learn anew")
        self._points = deque(zip(began_s, means, nums, strict=True))
        self._line = None

    def _fitted(self) -> "_Line | None":
        """The line through all points but the last, which is not complete."""
        if self._line is None and len(self._points) > WARMUP:
            times, values, _ = np.array(self._points).T
            self._line = _fit(times[:-1] - times[0], values[:-1])
        return self._line


@dataclass(frozen=True)
class _Line:
    start: float
    rise: float
    slope: float
    spread: float
    kendall: float


def _fit(times: Floats, values: Floats) -> _Line:
    """Theil and Sen's line through the points, its spread, and Kendall's statistic in standard deviations."""
    num = len(times)
    first, second = np.triu_indices(num, 1)
    rises = values[second] - values[first]
    slope = float(np.median(rises / (times[second] - times[first])))
    residuals = values - slope * times
    start = float(np.median(residuals))
    spread = MAD_OF_NORMAL * float(np.median(np.abs(residuals - start)))
    kendall = float(np.sign(rises).sum()) / math.sqrt(num * (num - 1) * (2 * num + 5) / 18)
    return _Line(start, slope * float(times[-1]), slope, spread, kendall)
