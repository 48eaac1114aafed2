"""Watches for a replica that is worse than its peers: slower, or failing more.

One of eight that fails is an eighth of the service's errors, and nothing in its median. Replicas are compared with each
other at one time, so that one which was bad before anybody watched is found as well.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from telemetry.detectors.proportion import Proportion, wilson_lower
from telemetry.detectors.straggler import straggler
from telemetry.series.frame import Frame, InstanceFrame
from telemetry.watching.decision import Decision, State
from telemetry.watching.detection import DetectionConfig
from telemetry.watching.durations import duration_text
from telemetry.watching.watch import CALM, Verdict

WINDOW_S = 30.0
FEWEST_REQUESTS = 20
"""In the window, of each that is compared."""
RATIO = 2.0
"""Rise above the others' mean latency from which a replica is a straggler, as a fraction of it."""
Z = 2.6
Kind = Literal["slow_replica", "failing_replica"]


class ReplicaWatch:
    """Compares the last `WINDOW_S` of each replica with those of the others."""

    decision = Decision(num_needed=4, num_considered=5, max_gap_s=600.0)

    def __init__(self, kind: Kind, config: DetectionConfig) -> None:
        self.signal: str = kind
        self._judge: Callable[[dict[str, _Sums]], Verdict | None]
        self._judge = self._slowest if kind == "slow_replica" else self._most_failing
        self._config = config
        self._recent: dict[str, deque[tuple[float, int, int, float]]] = {}
        self._accepted: set[str] = set()

    def relearn(self) -> None:
        """Leave those alone that are there now: they are meant to differ."""
        self._accepted = set(self._recent)

    def see(self, frame: Frame) -> Verdict | None:
        """Judge the worst; None while there are no two to compare."""
        if len(frame.instances) < 2:
            self._recent.clear()
            return None
        sums: dict[str, _Sums] = {}
        self._recent = {name: self._recent.get(name) or deque() for name in frame.instances}
        for name, instance in frame.instances.items():
            if name in self._accepted:
                continue
            window = self._recent[name]
            window.append((frame.steady_s, *_counts(instance)))
            while frame.steady_s - window[0][0] >= WINDOW_S:
                window.popleft()
            total = _Sums(window)
            if total.num_requests >= FEWEST_REQUESTS:
                sums[name] = total
        return self._judge(sums) if len(sums) >= 2 else None

    def settle(self, state: State, now_s: float) -> None:
        """Nothing is learnt here."""

    def document(self) -> dict[str, Any]:
        """Which are left alone."""
        return {"accepted": sorted(self._accepted)}

    def restore(self, document: dict[str, Any]) -> None:
        """Leave them alone further."""
        self._accepted = {str(name) for name in document["accepted"]}

    def _slowest(self, sums: dict[str, "_Sums"]) -> Verdict:
        worst = straggler(
            {name: each.total_s / each.num_requests for name, each in sums.items()},
            least_ratio=RATIO,
            least_shift=self._config.latency_shift_s,
        )
        return Verdict(
            unusual=worst.score >= 1.0,
            calm=worst.score < CALM,
            score=worst.score,
            value=worst.value,
            expected=(0.0, worst.limit),
            sentence=f"{worst.name} takes {duration_text(worst.value)} for a request, its peers "
            f"{duration_text(worst.usual)}",
            instance=worst.name,
        )

    def _most_failing(self, sums: dict[str, "_Sums"]) -> Verdict:
        shares = {name: each.num_errors / each.num_requests for name, each in sums.items()}
        name = max(shares, key=lambda name: shares[name])
        others = [each for other, each in sums.items() if other != name]
        usual = sum(each.num_errors for each in others) / sum(each.num_requests for each in others)
        proven = wilson_lower(Proportion(sums[name].num_errors, sums[name].num_requests), Z) - usual
        score = max(0.0, proven / max(self._config.error_shift, usual / 2))
        return Verdict(
            unusual=score >= 1.0 and sums[name].num_errors >= 5,
            calm=score < CALM,
            score=score,
            value=shares[name],
            expected=(0.0, usual),
            sentence=f"{name} fails in {shares[name]:.1%} of requests, its peers in {usual:.1%}",
            instance=name,
        )


class _Sums:
    def __init__(self, window: deque[tuple[float, int, int, float]]) -> None:
        self.num_requests = sum(each[1] for each in window)
        self.num_errors = sum(each[2] for each in window)
        self.total_s = sum(each[3] for each in window)


def _counts(instance: InstanceFrame) -> tuple[int, int, float]:
    return instance.num_requests, instance.num_server_errors, instance.total_s
