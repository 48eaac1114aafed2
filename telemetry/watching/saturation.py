"""Watches for a serving process that has used up its CPUs."""

import math
from collections import deque
from statistics import fmean
from typing import Any

from telemetry.series.frame import Frame
from telemetry.series.signals import BUSY_ROLES
from telemetry.watching.decision import Decision, State
from telemetry.watching.watch import Verdict

WINDOW_S, FEWEST = 120.0, 5
FULL, CALM = 0.95, 0.8


class SaturationWatch:
    """Compares the mean CPU utilisation of two minutes with a fixed limit: at it, requests queue without end.

    A service that was that busy from the start is judged as well. Nothing is learnt.
    """

    signal = "cpu"
    decision = Decision(num_needed=4, num_considered=5, max_gap_s=120.0)

    def __init__(self) -> None:
        self._recent: dict[str, deque[tuple[float, float]]] = {}
        self._accepted: set[str] = set()

    def relearn(self) -> None:
        """Leave those alone that are there now."""
        self._accepted = set(self._recent)

    def see(self, frame: Frame) -> Verdict | None:
        """Judge the busiest process; None while two minutes are not known of any."""
        used: dict[str, float] = {}
        self._recent = {name: self._recent.get(name) or deque() for name in frame.instances}
        for name, instance in frame.instances.items():
            if math.isnan(instance.cpu) or instance.role in BUSY_ROLES or name in self._accepted:
                continue
            window = self._recent[name]
            window.append((frame.steady_s, instance.cpu))
            is_full = frame.steady_s - window[0][0] >= WINDOW_S
            while frame.steady_s - window[0][0] > WINDOW_S:
                window.popleft()
            if is_full and len(window) >= FEWEST:
                used[name] = fmean(cpu for _, cpu in window)
        if not used:
            return None
        name = max(used, key=lambda name: used[name])
        return Verdict(
            unusual=used[name] >= FULL,
            calm=used[name] < CALM,
            score=used[name] / FULL,
            value=used[name],
            expected=(0.0, FULL),
            sentence=f"{name} uses {used[name]:.0%} of its CPUs",
            instance=name,
        )

    def settle(self, state: State, now_s: float) -> None:
        """Nothing is learnt here."""

    def document(self) -> dict[str, Any]:
        """Which are left alone."""
        return {"accepted": sorted(self._accepted)}

    def restore(self, document: dict[str, Any]) -> None:
        """Leave them alone further."""
        self._accepted = {str(name) for name in document["accepted"]}
