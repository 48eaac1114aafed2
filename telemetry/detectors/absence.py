"""How long nothing has come, against how long that usually lasts."""

from telemetry.detectors.detector import State, numbers, require_finite
from telemetry.detectors.window import SortedWindow


class Absence:
    """Time since the last value / max(least_s, ratio x 99th percentile of the gaps between values).

    Ask with whatever value and the present time, by the receiver's clock; learn each value that comes, in an incident
    too: a gap that scored 1 or more is not counted among the usual ones. At the default ratio of 3, gaps as irregular
    as a Poisson process' (exponential, so that e^-4.6 of them pass the 99th percentile and e^-13.8 three times it) give
    fewer than 1 false alarm in 100,000.
    """

    def __init__(self, *, least_s: float = 10.0, ratio: float = 3.0, window: int = 200, warmup: int = 10) -> None:
        self._least_s = least_s
        self._ratio = ratio
        self._warmup = warmup
        self._gaps = SortedWindow(window)
        self._last_s: float | None = None

    def score_one(self, x: object, time_s: float) -> float:  # noqa: ARG002 - that it is missing is what counts
        """How long nothing has come, 1.0 at the limit; 0 before `warmup` gaps were learnt."""
        require_finite(0.0, time_s)
        if self._last_s is None or len(self._gaps) < self._warmup:
            return 0.0
        return max(0.0, time_s - self._last_s) / self._limit_s()

    def learn_one(self, x: object, time_s: float) -> None:
        """Note that a value came; a clock that went back starts a gap anew."""
        require_finite(0.0, time_s)
        gap_s = 0.0 if self._last_s is None else time_s - self._last_s
        if gap_s > 0 and self.score_one(x, time_s) < 1.0:
            self._gaps.add(gap_s)
        self._last_s = time_s

    def expected(self, time_s: float) -> tuple[float, float]:  # noqa: ARG002 - the same at all times
        """From 0 to the limit, seconds."""
        return 0.0, self._limit_s()

    def state(self) -> State:
        """The gaps, and when the last value came."""
        return {"gaps": list(self._gaps), "last": [] if self._last_s is None else [self._last_s]}

    def restore(self, state: State) -> None:
        """Take the gaps up again; the time since the last value goes on."""
        gaps, last = numbers(state, "gaps"), numbers(state, "last")
        self._gaps.replace(gaps)
        self._last_s = last[0] if last else None

    def _limit_s(self) -> float:
        return max(self._least_s, self._ratio * self._gaps.quantile(0.99))
