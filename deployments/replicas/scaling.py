"""How many replicas a model needs: more at once, fewer only after a calm while.

    demand of the replicas -> need: what the requests that come in would fill, or more where they wait too long
                           -> clearly more than runs: grow
                           -> fewer sufficed all through a window: shrink to the window's peak

Ray's controller asks every 0.1 s and holds the answer within the bounds. Shrinking to a window's peak is the
"stabilization window" of Kubernetes' horizontal autoscaler; here the window grows where shrinking proves premature.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from deployments.settings import ModelSettings

LOOK_BACK_S = 3.0
"""Demand is averaged over this: a batch makes no trend."""
REPORT_EVERY_S = 0.5

CLEARLY_MORE = 1.1
"""Need over running replicas from which there are too few."""
CLEARLY_FEWER = 0.85
"""Need over replicas up to which those suffice, with room to spare."""
MOST_GROWTH = 4.0
"""At most so many times the running replicas at once: three seconds say only so much."""
MOST_PRESSURE = 2.0
"""The same where requests wait: how many there are says little of how many replicas they need."""
DRAINS = 0.98
"""Requests that come in over those answered below which a backlog drains, and waiting needs no further help."""
MOST_PATIENCE = 16
SHRINKS_A_WINDOW = 4


class ScalingPolicy:
    """The policy of one deployment; Ray makes it and calls it with the deployment's context."""

    def __init__(self, *, busy: float, ongoing: float, queue_s: float, latency_s: float | None, calm_s: float) -> None:
        self._busy = busy
        self._ongoing = ongoing
        self._queue_s = queue_s
        self._latency_s = latency_s
        self._calm_s = calm_s
        self._patience = 1
        self._running = self._target = 0
        self._joined_s = self._grown_s = self._shrunk_s = -math.inf
        self._needs: deque[tuple[float, float]] = deque()

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The number of replicas to aim at, and state for Ray to keep, of which there is none."""
        assert context.current_time is not None
        now_s = context.current_time
        running, target = context.current_num_replicas, context.target_num_replicas
        self._notice(now_s, running, target)
        need = self._need(context)
        peak = self._peak(now_s, need)
        more = math.ceil(min(need, MOST_GROWTH * running)) if need > CLEARLY_MORE * running else 0
        if more > target and now_s - self._joined_s >= LOOK_BACK_S:
            return more, {}
        if now_s - self._grown_s < self._window_s or now_s - self._shrunk_s < self._window_s / SHRINKS_A_WINDOW:
            return target, {}
        fewer = max(math.ceil(peak / CLEARLY_FEWER), context.capacity_adjusted_min_replicas)
        return min(target, fewer), {}

    @property
    def _window_s(self) -> float:
        return self._calm_s * self._patience

    def _notice(self, now_s: float, running: int, target: int) -> None:
        """Remember when replicas joined, were asked for and were let go; the two in quick succession teach patience."""
        if running > self._running:
            self._joined_s = now_s
        self._running = running
        if target > self._target:
            was_premature = now_s - self._shrunk_s < self._window_s
            self._patience = min(2 * self._patience, MOST_PATIENCE) if was_premature else max(1, self._patience // 2)
            self._grown_s = now_s
        elif target < self._target:
            self._shrunk_s = now_s
        self._target = target

    def _need(self, context: AutoscalingContext) -> float:
        """Replicas that the demand of the look-back fills; 0 where there were no requests at all."""
        metrics = context.aggregated_metrics or {}
        came, answered = _total(metrics, "came_per_s"), _total(metrics, "answered_per_s")
        if context.total_num_requests == 0 and came == answered == 0:
            return 0.0
        # While requests pile up or are refused more comes in than is done, while a backlog drains less.
        offered = came / answered if answered > 0 else 1.0
        work = _total(metrics, "busy") / self._busy * offered
        if offered < DRAINS:
            return work
        running = context.current_num_replicas
        pressure = self._pressure(metrics)
        crowd = max(context.total_num_requests / self._ongoing, running * pressure if pressure > CLEARLY_MORE else 0.0)
        return max(work, min(crowd, MOST_PRESSURE * running))

    def _pressure(self, metrics: Mapping[str, Mapping[Any, float]]) -> float:
        """How many times longer than it should a request waits; more replicas shorten nothing but the waiting."""
        queue_s, latency_s = _mean(metrics, "queue_s"), _mean(metrics, "latency_s")
        pressure = queue_s / self._queue_s
        if self._latency_s is not None and queue_s > 0.1 * latency_s:
            pressure = max(pressure, latency_s / self._latency_s)
        return pressure

    def _peak(self, now_s: float, need: float) -> float:
        """The largest need of the window."""
        while self._needs and self._needs[-1][1] <= need:
            self._needs.pop()
        self._needs.append((now_s, need))
        while self._needs[0][0] < now_s - self._window_s:
            self._needs.popleft()
        return self._needs[0][1]


def replicas(settings: ModelSettings) -> dict[str, Any]:
    """Serve's options for a model's deployment: a fixed number of replicas, or a number that follows the demand."""
    scaling = settings.scaling
    if scaling.min_replicas == scaling.max_replicas:
        return {"num_replicas": scaling.max_replicas}
    policy = AutoscalingPolicy(  # type: ignore[no-untyped-call]
        policy_function=f"{ScalingPolicy.__module__}:{ScalingPolicy.__name__}",
        policy_kwargs={
            "busy": scaling.busy,
            "ongoing": scaling.ongoing or settings.max_batch_size,
            "queue_s": scaling.queue_s,
            "latency_s": settings.latency_target_s,
            "calm_s": scaling.calm_s,
        },
    )
    config = AutoscalingConfig(
        policy=policy,
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.max_replicas,
        metrics_interval_s=REPORT_EVERY_S,
        look_back_period_s=LOOK_BACK_S,
        upscale_delay_s=0,  # the look-back is delay enough
        downscale_delay_s=0,  # the policy waits itself
    )
    return {"autoscaling_config": config}


def _total(metrics: Mapping[str, Mapping[Any, float]], name: str) -> float:
    return sum(metrics.get(name, {}).values())


def _mean(metrics: Mapping[str, Mapping[Any, float]], name: str) -> float:
    values = metrics.get(name)
    return sum(values.values()) / len(values) if values else 0.0
