"""What is watched of a service: frames in, alerts out.

Frame -> Watch (gathers enough requests, scores, learns) -> Verdict -> Machine (decides) -> Alert
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from telemetry.detectors.proportion import Proportion, ProportionShift
from telemetry.detectors.robust_z import RobustZScore
from telemetry.series.distribution import Distribution
from telemetry.series.frame import Frame
from telemetry.watching.alerts import Decision

LEARNT_WHILE_UNUSUAL = 10
"""One unusual value in so many is learnt: a shift becomes the new normal after many minutes, not at once."""


class DetectionConfig(BaseModel):
    """When a signal is unusual."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    latency_score: float = Field(default=8.0, gt=0)
    """Scales above the median from which a latency is unusual; a scale is at least a quarter of the median."""
    latency_shift_s: float = Field(default=0.005, gt=0)
    """Seconds above the median below which a latency is never unusual."""
    error_shift: float = Field(default=0.05, gt=0, lt=1)
    """Share of failed requests above the usual share from which errors are unusual."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a watch says about the latest values."""

    time_s: float
    unusual: bool
    score: float
    value: float
    expected: tuple[float, float]
    sentence: str


class Watch(Protocol):
    """Scores one thing about a service."""

    signal: str
    decision: Decision

    def see(self, frame: Frame) -> Verdict | None:
        """Score the frame, then learn it; None while there are too few requests to say anything."""
        ...


class LatencyWatch:
    """Watches the median and the 95th percentile of the request duration.

    One observation is at least `MIN_REQUESTS` requests, or what came in `MAX_GATHER_S`: a percentile of two requests
    says nothing. With fewer than `FULL_REQUESTS` a score counts in proportion: few requests' tail wanders.
    """

    MIN_REQUESTS, FEWEST_REQUESTS, FULL_REQUESTS, MAX_GATHER_S = 8, 3, 30, 3.0

    signal = "latency"
    decision = Decision(num_needed=4, num_considered=5)

    def __init__(self, config: DetectionConfig) -> None:
        self._threshold = config.latency_score
        floor = config.latency_shift_s / config.latency_score
        self._detectors = {name: RobustZScore(absolute_floor=floor) for name in ("p95 latency", "median latency")}
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
        scores = {name: weight * detector.score_one(values[name]) for name, detector in self._detectors.items()}
        name = max(scores, key=lambda name: scores[name])
        unusual = scores[name] >= self._threshold
        expected = self._detectors[name].expected()
        self._num_unusual = self._num_unusual + 1 if unusual else 0
        if self._num_unusual % LEARNT_WHILE_UNUSUAL == 0:
            for each, detector in self._detectors.items():
                detector.learn_one(values[each])
        return Verdict(
            time_s=frame.time_s,
            unusual=unusual,
            score=scores[name],
            value=values[name],
            expected=expected,
            sentence=f"{name} {duration_text(values[name])}, expected {duration_range(expected)}",
        )


class ErrorWatch:
    """Watches the share of requests that failed, over the last `WINDOW_S` and at least `MIN_REQUESTS` of them."""

    WINDOW_S, MAX_WINDOW_S, MIN_REQUESTS = 10.0, 20.0, 10

    decision = Decision(num_needed=2, num_considered=3)

    def __init__(self, signal: str, counted: str, text: str, config: DetectionConfig, *, warmup: int) -> None:
        self.signal = signal
        self._counted = counted
        self._text = text
        self._detector = ProportionShift(floor=config.error_shift, warmup=warmup)
        self._recent: deque[tuple[float, Proportion]] = deque()
        self._num_unusual = 0

    def see(self, frame: Frame) -> Verdict | None:
        """Score the window that ends with this frame; learn what has left it."""
        if not frame.num_requests:
            return None
        self._recent.append((frame.time_s, Proportion(getattr(frame, self._counted), frame.num_requests)))
        window = self._window(frame.time_s)
        if window.num_trials < self.MIN_REQUESTS:
            return None
        score, expected = self._detector.score_one(window), self._detector.expected()
        unusual = score >= 1.0
        self._num_unusual = self._num_unusual + 1 if unusual else 0
        self._learn(frame.time_s)
        value = window.num_hits / window.num_trials
        return Verdict(
            time_s=frame.time_s,
            unusual=unusual,
            score=score,
            value=value,
            expected=expected,
            sentence=f"{self._text} {value:.1%} of requests, expected at most {expected[1]:.1%}",
        )

    def _window(self, now_s: float) -> Proportion:
        num_hits = num_trials = 0
        for time_s, proportion in reversed(self._recent):
            if now_s - time_s >= self.WINDOW_S and num_trials >= self.MIN_REQUESTS:
                break
            num_hits += proportion.num_hits
            num_trials += proportion.num_trials
        return Proportion(num_hits, num_trials)

    def _learn(self, now_s: float) -> None:
        """Learn what is too old to be part of a window: its first seconds, not yet unusual, may be an incident's."""
        while self._recent and now_s - self._recent[0][0] >= self.MAX_WINDOW_S:
            _, proportion = self._recent.popleft()
            if self._num_unusual % LEARNT_WHILE_UNUSUAL == 0:
                self._detector.learn_one(proportion)


def watches(config: DetectionConfig) -> list[Watch]:
    """All that is watched of a service.

    Server errors are unusual from the first request on; how many client errors are usual depends on the clients.
    """
    return [
        LatencyWatch(config),
        ErrorWatch("server_errors", "num_server_errors", "server errors in", config, warmup=0),
        ErrorWatch("client_errors", "num_client_errors", "client errors in", config, warmup=10),
    ]


def duration_text(seconds: float) -> str:
    """A duration as people say it: "212 ms"."""
    number, unit = _scaled(seconds, seconds)
    return f"{number} {unit}"


def duration_range(expected: tuple[float, float]) -> str:
    """Two durations in one unit: "1.8-2.4 ms"."""
    low, unit = _scaled(expected[0], expected[1])
    high, _ = _scaled(expected[1], expected[1])
    return f"{low}-{high} {unit}" if low != high else f"{high} {unit}"


def _scaled(seconds: float, like_s: float) -> tuple[str, str]:
    factor, unit = next(
        (f, u) for least, f, u in ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs")) if like_s >= least
    )
    number = seconds * factor
    return f"{number:.0f}" if number >= 100 else f"{number:.2g}" if number < 10 else f"{number:.3g}", unit
