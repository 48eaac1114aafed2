"""Watches shares: how many requests fail, how many rows of a cascade go to its teacher."""

from collections import deque
from typing import Literal

from telemetry.detectors.proportion import Proportion, ProportionShift
from telemetry.series.frame import Frame
from telemetry.watching.decision import Decision
from telemetry.watching.detection import DetectionConfig
from telemetry.watching.watch import LEARNT_WHILE_UNUSUAL, Verdict


class ErrorWatch:
    """Watches which share of the requests, or of a cascade's rows, is `counted`.

    It is that of the last `WINDOW_S`, and of at least `MIN_REQUESTS` of them.
    """

    WINDOW_S, MAX_WINDOW_S, MIN_REQUESTS = 10.0, 20.0, 10

    decision = Decision(num_needed=2, num_considered=3)

    def __init__(
        self,
        signal: str,
        counted: str,
        text: str,
        config: DetectionConfig,
        *,
        warmup: int,
        among: Literal["requests", "cascaded"] = "requests",
    ) -> None:
        self.signal = signal
        self._counted = counted
        self._among, self._of = f"num_{among}", "requests" if among == "requests" else "rows"
        self._text = text
        self._floor, self._warmup = config.error_shift, warmup
        self.relearn()

    def relearn(self) -> None:
        """Forget what was usual; what comes next is."""
        self._detector = ProportionShift(floor=self._floor, warmup=self._warmup)
        self._recent: deque[tuple[float, Proportion]] = deque()
        self._num_unusual = 0

    def see(self, frame: Frame) -> Verdict | None:
        """Score the window that ends with this frame; learn what has left it."""
        num_trials: int = getattr(frame, self._among)
        if not num_trials:
            return None
        self._recent.append((frame.time_s, Proportion(getattr(frame, self._counted), num_trials)))
        window = self._window(frame.time_s)
        if window.num_trials < self.MIN_REQUESTS:
            return None
        score, expected = self._detector.score_one(window, frame.time_s), self._detector.expected(frame.time_s)
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
            sentence=f"{self._text} {value:.1%} of {self._of}, expected at most {expected[1]:.1%}",
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
            time_s, proportion = self._recent.popleft()
            if self._num_unusual % LEARNT_WHILE_UNUSUAL == 0:
                self._detector.learn_one(proportion, time_s)
