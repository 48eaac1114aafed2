"""Watches how long requests take."""

from telemetry.detectors.robust_z import RobustZScore
from telemetry.series.distribution import Distribution
from telemetry.series.frame import Frame
from telemetry.watching.decision import Decision
from telemetry.watching.detection import DetectionConfig
from telemetry.watching.durations import duration_range, duration_text
from telemetry.watching.watch import LEARNT_WHILE_UNUSUAL, Verdict


class LatencyWatch:
    """Watches the median and the 95th percentile of the request duration.

    One observation is at least `MIN_REQUESTS` requests, or what came in `MAX_GATHER_S`: a percentile of two requests
    says nothing. With fewer than `FULL_REQUESTS` a score counts in proportion: few requests' tail wanders.
    """

    MIN_REQUESTS, FEWEST_REQUESTS, FULL_REQUESTS, MAX_GATHER_S = 8, 3, 30, 3.0

    signal = "latency"
    decision = Decision(num_needed=4, num_considered=5)

    def __init__(self, config: DetectionConfig) -> None:
        self._config = config
        self.relearn()

    def relearn(self) -> None:
        """Forget what was usual."""
        config = self._config
        self._detectors = {
            name: RobustZScore(
                threshold=config.latency_score,
                least_ratio=config.latency_score / 4,
                least_shift=config.latency_shift_s,
            )
            for name in ("p95 latency", "median latency")
        }
        self._gathered, self._gathered_s = Distribution(), 0.0
        self._num_unusual = 0

    def see(self, frame: Frame) -> Verdict | None:
        """Score both percentiles; the more unusual one speaks."""
        self._gathered.merge(frame.durations)
        self._gathered_s += frame.interval_s if self._gathered.num_values else 0.0
        needed = self.FEWEST_REQUESTS if self._gathered_s >= self.MAX_GATHER_S else self.MIN_REQUESTS
        if self._gathered.num_values < needed:
            return None
        values = dict(zip(self._detectors, self._gathered.quantiles(0.95, 0.5), strict=True))
        weight = min(1.0, self._gathered.num_values / self.FULL_REQUESTS)
        self._gathered, self._gathered_s = Distribution(), 0.0
        scores = {
            name: weight * detector.score_one(values[name], frame.time_s) for name, detector in self._detectors.items()
        }
        name = max(scores, key=lambda name: scores[name])
        unusual = scores[name] >= 1.0
        expected = self._detectors[name].expected(frame.time_s)
        self._num_unusual = self._num_unusual + 1 if unusual else 0
        if self._num_unusual % LEARNT_WHILE_UNUSUAL == 0:
            for each, detector in self._detectors.items():
                detector.learn_one(values[each], frame.time_s)
        return Verdict(
            time_s=frame.time_s,
            unusual=unusual,
            score=scores[name],
            value=values[name],
            expected=expected,
            sentence=f"{name} {duration_text(values[name])}, expected {duration_range(expected)}",
        )
