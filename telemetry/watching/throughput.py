"""Watches for requests that stay away, while the processes that should get them are there."""

import math
from collections import deque
from statistics import fmean, median
from typing import Any

from telemetry.detectors.detector import numbers
from telemetry.series.frame import Frame
from telemetry.watching.decision import Decision, State
from telemetry.watching.detection import DetectionConfig
from telemetry.watching.habit import Habit
from telemetry.watching.stops import Stops
from telemetry.watching.watch import Verdict

SLOT_S, SLOTS, WARM_SLOTS, LAG_SLOTS = 4.0, 150, 75, 4
"""Seconds of a slot; slots that are remembered, that must be known, and that lie between now and what is learnt."""
FEWEST_EXPECTED, MOST_SLOTS = 20.0, 75
"""As many slots are judged together as usually bring so many requests, and how many that may be."""
LOWEST_KEPT = 0.8
"""Share of the lowest sum seen below which a sum is new."""
BLOCK_S, BLOCKS = 300.0, 300
RECENT_BLOCKS = 36
"""Three hours, in which the lowest sum is looked for: an idle night should not hide the next day's outage."""
REFERENCE_S = (1800.0, 4500.0)
"""How long ago the blocks are that a slow fall is measured against. A rhythm of ten to one over a day falls by a third
in that time where it falls fastest."""
LEAST_OF_PEAK = 0.35
"""Share of the day's peak that must be lost in a slow fall: at night, half of little is no fall."""
SLOW_KEPT = 1.1
"""Times what is left at a sudden drop that is still too little where it goes slowly."""
DAY_S, SAME_TIME_S = 86400.0, 1800.0
MINUTE_SLOTS = 15
"""Slots by which a slow fall is over: the five minutes still hold it."""
KNOWN = 0.6
"""Share of a rate that is known of this time from which another is like it."""
ROSE = 2.0
"""Times the rate of five minutes that the next five have where it rose at once."""
SETTLING_S = 60.0
"""After processes came or went, requests find their way anew."""
BACK = 0.75
"""Share of what was usual at which the requests are back."""


class ThroughputWatch:
    """Compares the requests of the last seconds with those of ten minutes, and of five minutes with an hour ago.

    A sum is unusual where it is below `1 - drop` of the usual and below all that was seen in three hours; so traffic
    that comes in bursts, or rests now and then, is left in peace. The same time yesterday excuses a slow fall, what the
    time of day or week brings on most days any (`Habit`), as do the rate before a sudden rise, and stops that came and
    went, for as long as they lasted (`Stops`).
    """

    signal = "throughput"
    decision = Decision(num_needed=2, num_considered=3, max_gap_s=120.0)

    def __init__(self, config: DetectionConfig) -> None:
        self._kept = 1.0 - config.throughput_drop
        self._accepted = math.inf
        """Requests per second that a person called normal."""
        self._instances: frozenset[str] = frozenset()
        self._changed_s = -math.inf
        self._rate = math.nan
        self._slot_s = SLOT_S
        """Seconds of the last slot: one report at least, however far they are apart."""
        self._stops, self._habit = Stops(), Habit()
        self.relearn()
        self._accepted = math.inf

    def relearn(self) -> None:
        """Forget what was usual; a rate as low as now is normal for good."""
        self._accepted = min(self._accepted, self._rate) if math.isfinite(self._rate) else self._accepted
        self._slot = (-math.inf, 0.0, 0.0)
        self._now: deque[float] = deque(maxlen=MOST_SLOTS)
        """Rates of the latest slots, whatever they are."""
        self._held: deque[float] = deque()
        self._learnt: deque[float] = deque(maxlen=SLOTS)
        self._block: list[float] = []
        self._block_s = 0.0
        self._stops.forget()
        self._blocks: deque[tuple[float, float, float]] = deque(maxlen=BLOCKS)
        """When it ended, its mean rate, its lowest."""
        self._frozen: float | None = None

    def see(self, frame: Frame) -> Verdict | None:
        """Score the slot that ends with this frame; None within one, and while processes come and go."""
        now_s = frame.steady_s
        names = frozenset(frame.instances)
        if names != self._instances:
            self._instances, self._changed_s = names, now_s
        began_s, num, seconds = self._slot
        self._slot = (began_s, num + frame.num_requests, seconds + frame.interval_s)
        if self._slot[2] < SLOT_S:
            return None
        rate = self._rate = self._slot[1] / self._slot[2]
        self._slot_s = self._slot[2]
        self._slot = (now_s, 0.0, 0.0)
        self._now.append(rate)
        if self._frozen is None and now_s - self._changed_s < SETTLING_S:
            return None
        self._habit.see(rate, frame.time_s)
        if self._frozen is None:
            self._held.append(rate)
        verdict = self._judge(now_s, frame.time_s)
        if verdict is not None:
            frame.expected[self.signal] = verdict.expected
        return verdict

    def settle(self, state: State, now_s: float) -> None:
        """Learn slots that are old enough; keep what was usual where it fires."""
        self._habit.settle(state)
        if state is State.FIRING:
            if self._frozen is None:
                self._frozen = max(self._usual() or 0.0, self._reference(now_s) or 0.0)
            self._held.clear()
            return
        self._frozen = None
        while state in (State.OK, State.RESOLVED) and len(self._held) > LAG_SLOTS:
            rate = self._held.popleft()
            self._learnt.append(rate)
            self._block.append(rate)
            self._block_s += self._slot_s
            if self._block_s >= BLOCK_S:
                lowest = min(_lowest_of_three(self._block), fmean(self._block))
                self._blocks.append((now_s, fmean(self._block), lowest))
                self._block, self._block_s = [], 0.0
        while len(self._held) > SLOTS:
            self._held.popleft()

    def document(self) -> dict[str, Any]:
        """What was usual."""
        return {
            "learnt": list(self._learnt),
            "held": list(self._held),
            "block": self._block,
            "block_s": self._block_s,
            "stops": self._stops.document(),
            "habit": self._habit.document(),
            "blocks": [list(column) for column in zip(*self._blocks, strict=True)],
            "frozen": [] if self._frozen is None else [self._frozen],
            "accepted": [self._accepted] if math.isfinite(self._accepted) else [],
        }

    def restore(self, document: dict[str, Any]) -> None:
        """Take it up again."""
        self._learnt.extend(numbers(document, "learnt"))
        self._held.extend(numbers(document, "held"))
        self._block, self._block_s = numbers(document, "block"), float(document.get("block_s", 0.0))
        if "habit" in document:  # none in a document of before
            self._stops.restore(document["stops"])
            self._habit.restore(document["habit"])
        if document["blocks"]:
            self._blocks.extend(zip(*document["blocks"], strict=True))
        frozen, accepted = numbers(document, "frozen"), numbers(document, "accepted")
        self._frozen = frozen[0] if frozen else None
        self._accepted = accepted[0] if accepted else math.inf

    def _judge(self, now_s: float, frame_s: float) -> Verdict | None:
        usual = max(self._usual() or 0.0, self._stops.usual or 0.0)
        reference = self._reference(now_s) or 0.0
        if self._frozen is not None:
            usual = self._frozen
        if not usual:
            return None
        num_slots = min(MOST_SLOTS, max(1, math.ceil(FEWEST_EXPECTED / (usual * self._slot_s))))
        if len(self._now) < num_slots:
            return None
        rate = fmean(list(self._now)[-num_slots:])
        sudden = self._missing(rate, usual, num_slots)
        slow = self._fallen(now_s, reference)
        expected = max(usual, reference if slow > sudden else 0.0)
        is_known = self._is_known(frame_s, now_s, rate, expected, max(sudden, slow))
        if self._stops.outlasts(now_s):
            expected = max(expected, self._stops.usual or 0.0)
            sudden = max(sudden, (expected - rate) / (expected * (1 - self._kept)))
        is_missing = rate < min(0.9 * self._accepted, BACK * expected)
        unusual = max(sudden, slow) >= 1.0 and is_missing and not is_known
        wanted = expected
        if self._frozen is not None and (then := self._yesterday(now_s)) is not None:
            wanted = min(wanted, then)
        calm = not unusual and (rate >= BACK * wanted or rate >= 0.9 * self._accepted)
        return Verdict(
            unusual=unusual,
            calm=calm,
            score=max(sudden, slow),
            value=rate,
            expected=(self._kept * expected, expected),
            sentence=f"{_rate(rate)} requests per second, expected about {_rate(expected)}",
        )

    def _is_known(self, frame_s: float, now_s: float, rate: float, expected: float, score: float) -> bool:
        """Note that the traffic stops, or is back; whether so few come at this time of day, or came before it rose, or
        for a while, by habit."""
        if self._stops.usual is not None and rate >= KNOWN * self._stops.usual:
            self._stops.end(now_s)
        elif score >= 1.0 and rate < KNOWN * expected:
            self._stops.begin(now_s, expected)
        if self._frozen is not None:
            return False
        known = [each for each in (self._habit.lowest(frame_s), self._before_rise(now_s)) if each is not None]
        return self._stops.is_habit(now_s) or any(rate >= KNOWN * each for each in known)

    def _before_rise(self, now_s: float) -> float | None:
        """The rate before the traffic last doubled at once, as where a nightly job began; None where it did not today,
        or came from nothing."""
        rates = [rate for ended_s, rate, _ in self._blocks if now_s - ended_s <= DAY_S]
        for at in range(len(rates) - 2, 0, -1):
            if rates[at + 1] >= ROSE * rates[at]:
                before = min(rates[at - 1 : at + 1])  # it may have risen amid the latter
                return before if before * BLOCK_S >= FEWEST_EXPECTED else None
        return None

    def _usual(self) -> float | None:
        return median(self._learnt) if len(self._learnt) >= WARM_SLOTS else None

    def _missing(self, rate: float, usual: float, num_slots: int) -> float:
        """1.0 where so few came as never in three hours, and less than should be kept."""
        lowest = min((each[2] for each in list(self._blocks)[-RECENT_BLOCKS:]), default=math.inf)
        learnt = list(self._learnt)
        if len(learnt) > num_slots:
            sums, total = [], sum(learnt[:num_slots])
            sums.append(total)
            for old, new in zip(learnt, learnt[num_slots:], strict=False):
                total += new - old
                sums.append(total)
            lowest = min(lowest, min(sums) / num_slots) if num_slots >= 3 else min(lowest, _lowest_of_three(learnt))
        limit = min(self._kept * usual, LOWEST_KEPT * lowest)
        return (usual - rate) / (usual - limit) if limit > 0 else 0.0

    def _fallen(self, now_s: float, reference: float) -> float:
        """1.0 where five minutes are far below what came half an hour to an hour and a quarter before."""
        slots = list(self._now)
        if not reference or len(slots) * self._slot_s < BLOCK_S:
            return 0.0
        num_slots = math.ceil(BLOCK_S / self._slot_s) if self._frozen is None else MINUTE_SLOTS
        rate = fmean(slots[-num_slots:])
        peaks = sorted(each[1] for each in self._blocks)
        peak = peaks[int(0.9 * (len(peaks) - 1))] if peaks else reference
        then = self._yesterday(now_s)
        if then is not None and rate > 0.6 * then:
            return 0.0
        allowed = max((1 - SLOW_KEPT * self._kept) * reference, LEAST_OF_PEAK * peak)
        return max(0.0, (reference - rate) / allowed)

    def _reference(self, now_s: float) -> float | None:
        if self._frozen is not None:
            return self._frozen
        newest, oldest = REFERENCE_S
        rates = [rate for ended_s, rate, _ in self._blocks if newest <= now_s - ended_s <= oldest]
        return median(rates) if len(rates) >= 3 else None

    def _yesterday(self, now_s: float) -> float | None:
        rates = [rate for ended_s, rate, _ in self._blocks if abs(now_s - DAY_S - ended_s) <= SAME_TIME_S]
        return median(rates) if len(rates) >= 3 else None


def _lowest_of_three(rates: list[float]) -> float:
    return min((sum(each) / 3 for each in zip(rates, rates[1:], rates[2:], strict=False)), default=math.inf)


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
