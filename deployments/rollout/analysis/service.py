"""How the candidate serves: failures, numbers that are none, latency, objective, memory, processor."""

import math
from collections.abc import Sequence

import numpy as np

from deployments.rollout.analysis import latency as latencies
from deployments.rollout.analysis import resources
from deployments.rollout.analysis.counts import Floats, as_text, of_both, summed
from deployments.rollout.analysis.finding import of_evidence
from deployments.rollout.analysis.proportions import above, excess
from deployments.rollout.analysis.settings import AnalysisSettings
from deployments.rollout.analysis.starts import strongest
from deployments.rollout.analysis.verdict import Finding
from deployments.rollout.evidence import Window
from telemetry.slo.objective import Objective

Windows = Sequence[Window]


def errors(windows: Windows, settings: AnalysisSettings, needed_nats: float) -> Finding:
    """Requests that failed."""
    sums = of_both(windows, lambda arm: (arm.errors, arm.requests))
    nats = strongest(sums, lambda each: excess(each, settings.error_margin)).nats
    return of_evidence("errors", nats, needed_nats, f"failed: {as_text(sums, 'requests')}")


def non_finite(windows: Windows, settings: AnalysisSettings, needed_nats: float) -> Finding:  # noqa: ARG001 - no margin
    """Answers that hold NaN or an infinity where the baseline's do not."""
    sums = of_both(windows, lambda arm: (arm.non_finite, arm.checked))
    nats = strongest(sums, lambda each: excess(each, 0.0)).nats
    return of_evidence("non_finite", nats, needed_nats, f"not finite: {as_text(sums, 'answers')}")


def latency(windows: Windows, settings: AnalysisSettings, needed_nats: float) -> Finding:
    """Durations at three quantiles, each with a third of the chance of a false alarm."""
    quantiles = latencies.QUANTILES
    found = [latencies.slower(windows, each, settings.latency_margin) for each in quantiles]
    worst = int(np.argmax(found))
    ours = summed(window.candidate.durations for window in windows)
    theirs = summed(window.baseline.durations for window in windows)
    told_ms = [1000 * latencies.quantile_s(each, quantiles[worst]) for each in (ours, theirs)]
    text = f"p{100 * quantiles[worst]:g} {told_ms[0]:.3g} ms, baseline {told_ms[1]:.3g} ms"
    return of_evidence("latency", found[worst], needed_nats + math.log(len(quantiles)), text)


def slo(windows: Windows, settings: AnalysisSettings, needed_nats: float) -> Finding | None:
    """The error budget of each objective: spent too fast, and faster than by the baseline; none without objectives."""
    found = [_spent(windows, each, settings.slo_burn) for each in settings.slos or ()]
    if not found:
        return None
    nats, text = max(found)
    return of_evidence("slo", nats, needed_nats + math.log(len(found)), text)


def _spent(windows: Windows, objective: Objective, burn: float) -> tuple[float, str]:
    """Nats for it, and how fast it is in words."""
    limit_s, allowed = objective.latency_s or math.inf, 1 - objective.share
    sums = of_both(windows, lambda arm: (arm.errors + latencies.num_above(arm.durations, limit_s), arm.requests))
    most = min(0.999, burn * allowed)

    def nats(each: Floats) -> Floats:
        return np.minimum(excess(each, 0.0), above(each[:, :2], most))

    bad, requests = sums[:, :2].sum(axis=0) if len(sums) else (0, 0)
    fast = bad / max(1, requests) / allowed
    return strongest(sums, nats).nats, f"error budget of {objective.name} spent {fast:.3g} times as fast as allowed"


def memory(windows: Windows, settings: AnalysisSettings, needed_nats: float) -> Finding:
    """Growth of the candidate's processes."""
    nats, bytes_per_s = resources.leaks(windows, settings.leak_per_hour, settings.settle_s)
    text = f"a process grew by {bytes_per_s * 60 / 2**20:.3g} MiB a minute beyond the baseline's"
    return of_evidence("memory", nats, needed_nats, text)


def cpu(windows: Windows, settings: AnalysisSettings, needed_nats: float) -> Finding:
    """Processor time of a request."""
    arms = [window.candidate for window in windows], [window.baseline for window in windows]
    told_ms = [1000 * sum(arm.cpu_s for arm in each) / max(1, sum(arm.requests for arm in each)) for each in arms]
    nats = resources.dearer(windows, settings.cpu_margin, settings.idle_cpu)
    text = f"{told_ms[0]:.3g} ms of processor time a request, baseline {told_ms[1]:.3g} ms"
    return of_evidence("cpu", nats, needed_nats, text)
