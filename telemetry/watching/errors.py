"""Watches shares: how many requests fail, how many rows of a cascade go to its teacher."""

import math
from collections import deque
from typing import Any, Literal

from telemetry.detectors.detector import numbers
from telemetry.detectors.proportion import Proportion, ProportionShift, wilson_lower
from telemetry.detectors.window import SortedWindow
from telemetry.series.frame import Frame
from telemetry.watching.decision import Decision, State
from telemetry.watching.detection import DetectionConfig
from telemetry.watching.watch import CALM, Verdict

Counted = Literal["num_server_errors", "num_client_errors", "num_sent", "num_unanswered"]

WINDOW_S, MAX_WINDOW_S, MIN_REQUESTS = 10.0, 20.0, 10
SLOW_WINDOWS_S = (60.0, 300.0)
MIN_HITS = 5
Z = 2.6
"""Of Wilson's bound: 5 of 1,000 windows lie above theirs by chance, before the least shift is asked for too."""
BLOCK_S, FEWEST_IN_BLOCK, BLOCKS, HELD_S = 300.0, 30, 288, 600.0
"""A block of the day's record, the fewest requests in one, how many are kept, and how old it is when it is learnt."""
QUANTILE = 0.25
SURE = math.log(1e-5)
"""Log-likelihood ratio from which the share is back (Wald 1945): by chance one time in 100,000."""


_RATIOS = {"server_errors": "server_error_ratio", "client_errors": "client_error_ratio"}
"""The frame's signal that each is about."""


class ErrorWatch:
    """Watches which share of the requests, or of a cascade's rows, is `counted`.

    What comes suddenly is judged by the last `WINDOW_S`, and at least `MIN_REQUESTS`, against the last minutes; what
    comes slowly by the last one and five minutes against the day's record. `share` is the least rise that is unusual.
    """

    decision = Decision(num_needed=2, num_considered=3, max_gap_s=600.0)

    def __init__(
        self,
        signal: str,
        counted: Counted,
        text: str,
        config: DetectionConfig,
        *,
        warmup: int,
        among: Literal["requests", "cascaded"] = "requests",
        limit: float | None = None,
    ) -> None:
        self.signal = signal
        self._counted = counted
        self._among, self._of = f"num_{among}", "requests" if among == "requests" else "rows"
        self._text = text
        self._shift, self._limit = config.error_shift, limit
        self._recent: deque[tuple[float, Proportion]] = deque()
        self._slow = [_Window(seconds) for seconds in SLOW_WINDOWS_S]
        self._fires = False
        self._begin(warmup)

    def relearn(self) -> None:
        """Forget what was usual; what comes next is, whatever it is."""
        self._begin(warmup=10)

    def see(self, frame: Frame) -> Verdict | None:
        """Score the windows that end with this frame; the most unusual one speaks."""
        num_trials: int = getattr(frame, self._among)
        if not num_trials:
            return None
        seen, now_s = Proportion(getattr(frame, self._counted), num_trials), frame.steady_s
        self._recent.append((now_s, seen))
        if not self._fires:
            self._waiting.append((now_s, seen))
        for slow in self._slow:
            slow.add(now_s, seen)
        self._weigh(seen)
        window = self._window(now_s)
        if window.num_trials < MIN_REQUESTS:
            return None
        base = self._detector.expected(now_s)[1]
        if self.signal in _RATIOS:
            frame.expected[_RATIOS[self.signal]] = (0.0, base)
        score, shown = self._detector.score_one(window, now_s), window
        for slow in self._slow:
            if (slow_score := self._slow_score(slow.sum)) > score:
                score, shown, base = slow_score, slow.sum, self._anchor() or 0.0
        if self._limit is not None and (over := wilson_lower(window, Z) / self._limit) > score:
            score, shown, base = over, window, self._limit
        value = shown.num_hits / shown.num_trials
        return Verdict(
            unusual=score >= 1.0,
            calm=score < CALM and (not self._fires or self._balance <= SURE),
            score=score,
            value=value,
            expected=(0.0, base),
            sentence=f"{self._text} {value:.1%} of {self._of}, expected at most {base:.1%}",
        )

    def settle(self, state: State, now_s: float) -> None:
        """Learn what is too old to be part of an alert's beginning; forget what is held where one fires."""
        if state is State.FIRING and not self._fires:
            self._all, self._balance = Proportion(0, 0), 0.0
        self._fires = state is State.FIRING
        if self._fires:
            self._anchor()
            self._waiting.clear()
            self._held.clear()
            self._block = (now_s, 0, 0)
        if state not in (State.OK, State.RESOLVED):
            return
        while self._waiting and now_s - self._waiting[0][0] >= MAX_WINDOW_S:
            time_s, seen = self._waiting.popleft()
            self._detector.learn_one(seen, time_s)
            self._block_up(time_s, seen)
        while self._held and now_s - self._held[0][0] >= HELD_S:
            self._blocks.add(self._held.popleft()[1])

    def document(self) -> dict[str, Any]:
        """The record of minutes and of the day."""
        return {
            "detector": self._detector.state(),
            "warmup": self._warmup,
            "blocks": list(self._blocks),
            "times": [time_s for time_s, _ in self._held],
            "held": [share for _, share in self._held],
            "block": list(self._block),
            "all": list(self._all),
        }

    def restore(self, document: dict[str, Any]) -> None:
        """Take the record up again."""
        self._begin(int(document["warmup"]))
        self._detector.restore(document["detector"])
        blocks, times, held = (numbers(document, name) for name in ("blocks", "times", "held"))
        self._blocks.replace(blocks)
        self._held.extend(zip(times, held, strict=True))
        began_s, num_hits, num_trials = numbers(document, "block")
        self._block = (began_s, int(num_hits), int(num_trials))
        self._all = Proportion(*(int(number) for number in numbers(document, "all")))

    def _begin(self, warmup: int) -> None:
        self._warmup = warmup
        self._detector = ProportionShift(z=Z, floor=self._shift, warmup=warmup, min_hits=MIN_HITS)
        self._blocks = SortedWindow(BLOCKS)
        self._held: deque[tuple[float, float]] = deque()
        """Blocks that may not be learnt yet: when each ended, and its share."""
        self._block = (0.0, 0, 0)
        self._waiting: deque[tuple[float, Proportion]] = deque()
        self._fires = False
        self._all = Proportion(0, 0)
        """All that was counted while it fired."""
        self._balance = 0.0

    def _window(self, now_s: float) -> Proportion:
        while self._recent and now_s - self._recent[0][0] >= MAX_WINDOW_S:
            self._recent.popleft()
        num_hits = num_trials = 0
        for time_s, proportion in reversed(self._recent):
            if now_s - time_s >= WINDOW_S and num_trials >= MIN_REQUESTS:
                break
            num_hits += proportion.num_hits
            num_trials += proportion.num_trials
        if num_trials >= MIN_REQUESTS:
            return Proportion(num_hits, num_trials)
        return next((slow.sum for slow in self._slow if slow.sum.num_trials >= MIN_REQUESTS), Proportion(0, 0))

    def _slow_score(self, window: Proportion) -> float:
        """1.0 where the share is above the day's by the least shift, and surely above it."""
        anchor = self._anchor()
        if anchor is None or window.num_hits < MIN_HITS:
            return 0.0
        allowed = max(self._shift, anchor / 2)
        rise = (window.num_hits / window.num_trials - anchor) / allowed
        sure = (wilson_lower(window, Z) - anchor) / (0.3 * allowed)
        return max(0.0, min(rise, sure))

    def _anchor(self) -> float | None:
        """What the share is when it is low; 0 where none is usual and nothing is known yet, else None."""
        if len(self._blocks) + len(self._held) == 0:
            return 0.0 if self._warmup == 0 else None
        if len(self._blocks) >= 3:
            return self._blocks.quantile(QUANTILE)
        known = SortedWindow(BLOCKS)
        known.replace([*self._blocks, *(share for _, share in self._held)])
        return known.quantile(QUANTILE)

    def _block_up(self, time_s: float, seen: Proportion) -> None:
        began_s, num_hits, num_trials = self._block
        if num_trials == 0:
            began_s = time_s
        self._block = began_s, num_hits + seen.num_hits, num_trials + seen.num_trials
        if time_s - began_s >= BLOCK_S and self._block[2] >= FEWEST_IN_BLOCK:
            self._held.append((time_s, self._block[1] / self._block[2]))
            self._block = (time_s, 0, 0)

    def _weigh(self, seen: Proportion) -> None:
        """Weigh "it is back" against "it goes on", while it fires: a sequential test that begins anew whenever what
        comes speaks for the latter. Once it is sure, the slow windows begin anew: they still hold the incident."""
        if not self._fires:
            return
        self._all = Proportion(self._all.num_hits + seen.num_hits, self._all.num_trials + seen.num_trials)
        base = self._detector.expected(0.0)[1]
        above = max(self._shift, (self._all.num_hits / self._all.num_trials - base) / 3)
        back, on = min(base + self._shift / 4, 0.98), min(base + above, 0.99)
        hit, miss = math.log(on / back), math.log((1 - on) / (1 - back))
        was_sure = self._balance <= SURE
        self._balance = min(0.0, self._balance + seen.num_hits * hit + (seen.num_trials - seen.num_hits) * miss)
        if self._balance <= SURE and not was_sure:
            self._slow = [_Window(seconds) for seconds in SLOW_WINDOWS_S]


class _Window:
    """The sum of the proportions of the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.sum = Proportion(0, 0)
        self._seconds = seconds
        self._parts: deque[tuple[float, Proportion]] = deque()

    def add(self, now_s: float, seen: Proportion) -> None:
        self._parts.append((now_s, seen))
        hits, trials = self.sum.num_hits + seen.num_hits, self.sum.num_trials + seen.num_trials
        while now_s - self._parts[0][0] >= self._seconds:
            _, old = self._parts.popleft()
            hits, trials = hits - old.num_hits, trials - old.num_trials
        self.sum = Proportion(hits, trials)
