"""The evidence of all replicas, put together window by window."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deployments.rollout.counting import ArmName
from deployments.rollout.evidence import Arm, Window, together

_ARMS: tuple[ArmName, ...] = ("baseline", "candidate")

SETTLE_S = 1.5
"""After so long all replicas have told of a window that is over."""
MISSED_FOR = 3
"""Windows for which a process that tells no more is missed; then it has gone."""


def gathered(told: Mapping[str, Sequence[Window]], *, since_s: float, now_s: float) -> dict[float, Window]:
    """The windows that began after `since_s` and are over, by their start. `told` is what each process said, by
    `<arm>:<process>`; a window that one of them has not told of yet says so.
    """
    windows: dict[float, Window] = {}
    for said in told.values():
        for window in said:
            if window.start_s >= since_s and window.end_s + SETTLE_S <= now_s:
                before = windows.get(window.start_s)
                windows[window.start_s] = together(before, window) if before else window
    return {start_s: _with_missing(window, told) for start_s, window in sorted(windows.items())}


def _with_missing(window: Window, told: Mapping[str, Sequence[Window]]) -> Window:
    missing = {arm: _missing(arm, window, told) for arm in _ARMS}
    return replace(
        window,
        baseline=window.baseline + Arm(asked=missing["baseline"]),
        candidate=window.candidate + Arm(asked=missing["candidate"]),
    )


def _missing(arm: ArmName, window: Window, told: Mapping[str, Sequence[Window]]) -> int:
    """Processes of that arm that must have seen the window, and have not told."""
    patience_s = MISSED_FOR * (window.end_s - window.start_s)
    last = [max(each.start_s for each in said) for process, said in told.items() if process.startswith(arm) and said]
    late = sum(0 < window.start_s - each <= patience_s for each in last)
    return late if last else 1
