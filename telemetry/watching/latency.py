"""Watches how long requests take."""

from typing import Any, ClassVar

from telemetry.series.distribution import Distribution
from telemetry.series.frame import Frame
from telemetry.watching.baseline import Baseline
from telemetry.watching.decision import Decision, State
from telemetry.watching.detection import DetectionConfig
from telemetry.watching.durations import duration_range, duration_text
from telemetry.watching.habit import Habit
from telemetry.watching.watch import CALM, Verdict

SURE_REQUESTS = 200
HABIT_RATIO = 1.5
"""Times what this time of day or week usually brings at which a latency is unusual all the same."""
NAMES = {"p95": "p95 latency", "median": "median latency"}


class LatencyWatch:
    """Watches the median and the 95th percentile of the request duration.

    One observation is at least `MIN_REQUESTS` requests, or what came in `MAX_GATHER_S`: a percentile of two requests
    says nothing. With fewer than `FULL_REQUESTS` a score counts in proportion: few requests' tail wanders. That the
    latency is back takes `SURE_REQUESTS`: of so many, one in twenty that is still slow would show (0.95^200 = 3.5e-5).

    Four observations of a second each raise an alert. Where reports come every `LONG_S` or less often, two do, if
    the median says so too, or of `SURE_REQUESTS`: that it lasts counts, not in how many reports it is told.
    """

    MIN_REQUESTS, FEWEST_REQUESTS, MAX_GATHER_S, LONG_S = 8, 3, 3.0, 4.0
    FULL_REQUESTS: ClassVar = {"p95": 30, "median": 15}
    signal = "latency"
    decision = Decision(num_needed=4, num_considered=5, evidence=SURE_REQUESTS, max_gap_s=600.0)

    def __init__(self, config: DetectionConfig, *, limit_s: float | None = None) -> None:
        self._config, self._limit_s = config, limit_s
        self.relearn()

    def relearn(self) -> None:
        """Forget what was usual."""
        config = self._config
        self._baselines = {
            name: Baseline(ratio=config.latency_score / 4, shift=config.latency_shift_s, threshold=config.latency_score)
            for name in NAMES
        }
        self._habits, self._fires = {name: Habit() for name in NAMES}, False
        self._gathered, self._gathered_s = Distribution(), 0.0

    def see(self, frame: Frame) -> Verdict | None:
        """Score both percentiles; the more unusual one speaks."""
        self._gathered.merge(frame.durations)
        self._gathered_s += frame.interval_s if self._gathered.num_values else 0.0
        needed = self.FEWEST_REQUESTS if self._gathered_s >= self.MAX_GATHER_S else self.MIN_REQUESTS
        if self._gathered.num_values < needed:
            return None
        num_requests = self._gathered.num_values
        values = dict(zip(NAMES, self._gathered.quantiles(0.95, 0.5), strict=True))
        weights = {name: min(1.0, num_requests / full) for name, full in self.FULL_REQUESTS.items()}
        is_long = self._gathered_s >= self.LONG_S
        self._gathered, self._gathered_s = Distribution(), 0.0
        scores = {
            name: baseline.score(values[name], frame.steady_s, weights[name])
            for name, baseline in self._baselines.items()
        }
        for name, habit in self._habits.items():
            habit.see(values[name], frame.time_s)
            if not self._fires and (usual := habit.highest(frame.time_s)):
                scores[name] = min(scores[name], values[name] / (HABIT_RATIO * usual))
        expected = {name: baseline.expected(frame.steady_s) for name, baseline in self._baselines.items()}
        frame.expected |= {f"latency_{name}": range_ for name, range_ in expected.items()}
        if self._limit_s is not None:
            over = weights["p95"] * values["p95"] / self._limit_s
            if over > scores["p95"]:
                scores["p95"], expected["p95"] = over, (0.0, self._limit_s)
        name = max(scores, key=lambda name: scores[name])
        return Verdict(
            unusual=scores[name] >= 1.0,
            calm=scores[name] < CALM,
            evidence=num_requests,
            stands_for=2 if is_long and (num_requests >= SURE_REQUESTS or scores["median"] >= 1.0) else 1,
            score=scores[name],
            value=values[name],
            expected=expected[name],
            sentence=f"{NAMES[name]} {duration_text(values[name])}, expected {duration_range(expected[name])}",
        )

    def settle(self, state: State, now_s: float) -> None:
        """Learn, or forget what is held."""
        self._fires = state is State.FIRING
        for habit in self._habits.values():
            habit.settle(state)
        for baseline in self._baselines.values():
            baseline.settle(state, now_s)

    def document(self) -> dict[str, Any]:
        """What was usual of both."""
        habits = {name: habit.document() for name, habit in self._habits.items()}
        return {name: baseline.document() for name, baseline in self._baselines.items()} | {"habits": habits}

    def restore(self, document: dict[str, Any]) -> None:
        """Take it up again."""
        for name, baseline in self._baselines.items():
            baseline.restore(document[name])
        for name, kept in document.get("habits", {}).items():  # none in a document of before
            self._habits[name].restore(kept)
