"""Whether a candidate is good, bad, or not to be told yet, by the windows of a whole rollout so far."""

import math
from collections.abc import Sequence

from deployments.rollout.analysis import soundness
from deployments.rollout.analysis.behaviour import answers, fidelity, slices
from deployments.rollout.analysis.service import cpu, errors, latency, memory, non_finite, slo
from deployments.rollout.analysis.settings import AnalysisSettings
from deployments.rollout.analysis.verdict import Finding, Verdict
from deployments.rollout.evidence import Window

_SIGNALS = (
    (errors, 0.2),
    (non_finite, 0.05),
    (latency, 0.3),
    (fidelity, 0.2),
    (answers, 0.02),
    (slo, 0.05),
    (memory, 0.1),
    (cpu, 0.05),
    (slices, 0.03),
)
"""What is looked at, and each one's share of the chance of a false alarm; together 1."""

RECENT = 3
"""Of so many latest windows one must be complete: a process may tell a little late."""


def judge(windows: Sequence[Window], settings: AnalysisSettings, *, since_s: float = -math.inf) -> Verdict:
    """What all windows of a rollout say, in order of time. A window that cannot be what was seen is no evidence at all,
    one in which not all processes told what they saw speaks against the candidate alone. Only complete windows that
    start at `since_s` or later, as of the step that the rollout is in, count towards enough to call it good.
    """
    sound = [window for window in windows if soundness.fault(window) is None]
    try:
        findings = tuple(
            finding
            for look, share in _SIGNALS
            if (finding := look(sound, settings, math.log(1 / (settings.false_alarm * share)))) is not None
        )
    except (ArithmeticError, ValueError) as error:
        failed = Finding(signal="completeness", kind="inconclusive", text=f"the analysis failed: {error}")
        return Verdict(kind="inconclusive", findings=(failed,))
    if any(finding.kind == "bad" for finding in findings):
        return Verdict(kind="bad", findings=findings)
    findings = (_completeness(windows, sound, settings, since_s), *findings)
    is_good = all(finding.kind == "good" for finding in findings)
    return Verdict(kind="good" if is_good else "inconclusive", findings=findings)


def _completeness(
    windows: Sequence[Window], sound: Sequence[Window], settings: AnalysisSettings, since_s: float
) -> Finding:
    """Whether there is enough to call a candidate good."""
    missing = _missing(windows, sound, settings, since_s)
    if missing:
        return Finding(signal="completeness", kind="inconclusive", text=missing)
    complete = [window for window in sound if window.start_s >= since_s and soundness.gap(window) is None]
    requests = sum(window.candidate.requests for window in complete)
    return Finding(signal="completeness", kind="good", text=f"{requests:,} requests in {len(complete):,} windows")


def _missing(
    windows: Sequence[Window], sound: Sequence[Window], settings: AnalysisSettings, since_s: float
) -> str | None:
    if not windows:
        return "nothing was seen yet"
    if wrong := soundness.fault(windows[-1]):
        return f"the latest window cannot be judged: {wrong}"
    latest = [soundness.gap(window) for window in windows[-RECENT:]]
    if latest[-1] and (all(latest) or not _were_asked(windows[-1])):
        return f"the latest windows cannot be judged: {latest[-1]}"
    complete = [window for window in sound if window.start_s >= since_s and soundness.gap(window) is None]
    answered = sum(window.candidate.requests - window.candidate.errors for window in complete)
    if answered < settings.least_requests:
        return f"{answered:,} answered requests of {settings.least_requests:,} that are needed"
    if not any(window.candidate.durations for window in complete):
        return "no durations of the candidate were told"
    if not sum(window.baseline.requests for window in complete):
        return "the baseline had no requests to compare with"
    seen_s = sum(window.end_s - window.start_s for window in complete)
    if seen_s < settings.least_s:
        return f"{seen_s:.0f} s of complete windows of {settings.least_s:.0f} that are needed"
    compared = sum(max(window.candidate.compared, window.paired.rows) for window in sound)
    if compared < settings.least_compared:
        return f"{compared:,} compared rows of {settings.least_compared:,} that are needed"
    return None


def _were_asked(window: Window) -> bool:
    return bool(window.baseline.asked and window.candidate.asked)
