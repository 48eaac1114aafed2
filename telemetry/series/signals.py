"""The signals of a service, computed at the end of each frame."""

import math
import statistics
from collections.abc import Mapping, Sequence

from telemetry import conventions as names
from telemetry.receivers.attributes import Attributes
from telemetry.series.distribution import Distribution
from telemetry.series.frame import Frame
from telemetry.series.instance import Instance
from telemetry.series.prices import Prices

DISTRIBUTIONS = (
    names.REQUEST_DURATION.name,
    names.QUEUE_DURATION.name,
    names.INFERENCE_DURATION.name,
    names.INFERENCE_BATCH_SIZE.name,
    names.TRAIN_STEP_DURATION.name,
    names.EVENT_LOOP_LAG.name,
)
"""Metrics whose values are gathered over all instances of a service."""
BUSY_ROLES = frozenset({"train_worker", "score"})
"""What these do, they do as fast as they can: that they use all they have says nothing."""


def signals(
    frame: Frame, distributions: Mapping[str, Distribution], alive: Sequence[Instance], prices: Prices
) -> dict[str, float]:
    """All signals this service has; NaN is one that says nothing in this frame, such as the latency of no request."""
    p50, p95, p99 = frame.durations.quantiles(0.5, 0.95, 0.99)
    (queue_p95,) = distributions[names.QUEUE_DURATION.name].quantiles(0.95)
    (inference_p95,) = distributions[names.INFERENCE_DURATION.name].quantiles(0.95)
    (train_step_p95,) = distributions[names.TRAIN_STEP_DURATION.name].quantiles(0.95)
    (event_loop_p95,) = distributions[names.EVENT_LOOP_LAG.name].quantiles(0.95)
    num, num_cascaded = frame.num_requests, frame.num_cascaded
    busy = _devices(alive, names.GPU_UTILIZATION.name)
    losses = _losses(alive)
    expected = _gauges(alive, names.CASCADE_EXPECTED.name)
    return {
        "latency_p50": p50,
        "latency_p95": p95,
        "latency_p99": p99,
        "server_error_ratio": frame.num_server_errors / num if num else math.nan,
        "client_error_ratio": frame.num_client_errors / num if num else math.nan,
        "cascade_sent": frame.num_sent / num_cascaded if num_cascaded else math.nan,
        "cascade_unanswered": frame.num_unanswered / num_cascaded if num_cascaded else math.nan,
        "cascade_expected": statistics.fmean(expected) if expected else math.nan,
        "queue_p95": queue_p95,
        "inference_p95": inference_p95,
        "batch_size": distributions[names.INFERENCE_BATCH_SIZE.name].mean(),
        "train_step": distributions[names.TRAIN_STEP_DURATION.name].mean(),
        "train_step_p95": train_step_p95,
        "straggler": max(slowness(frame.work).values(), default=math.nan),
        "throughput": _rate(alive, "requests"),
        "samples": _rate(alive, "samples"),
        "train_samples": _rate(alive, "train_samples"),
        "cpu": _sum(_gauges(alive, names.PROCESS_CPU_UTILIZATION.name)),
        "memory": _sum(_gauges(alive, names.PROCESS_MEMORY_USAGE.name)),
        "gpu": statistics.fmean(busy) if busy else math.nan,
        "gpu_memory": _sum(_devices(alive, names.GPU_MEMORY_USAGE.name)),
        "event_loop_p95": event_loop_p95,
        "saturation": _saturation(alive),
        "cost_per_1000": _cost(alive, prices),
        "train_loss": statistics.fmean(losses) if losses else math.nan,
    }


def _saturation(alive: Sequence[Instance]) -> float:
    """How much of what it needs most the fullest process has taken: its CPUs, session, queue, or bytes."""
    return max(
        (
            taken
            for instance in alive
            if instance.origin.role not in BUSY_ROLES
            for metric in (names.PROCESS_CPU_UTILIZATION.name, names.SATURATION.name)
            for taken in instance.gauges.get(metric, {}).values()
        ),
        default=math.nan,
    )


def _cost(alive: Sequence[Instance], prices: Prices) -> float:
    """What a thousand requests cost, of CPU and memory in use, and of GPUs whether they are or not."""
    rate = _rate(alive, "requests")
    if not prices.are_known or not rate > 0:
        return math.nan
    cpus = sum(
        instance.gauge(names.PROCESS_CPU_UTILIZATION.name) * instance.gauge(names.PROCESS_CPUS.name)
        for instance in alive
        if names.PROCESS_CPUS.name in instance.gauges
    )
    memory = _sum(_gauges(alive, names.PROCESS_MEMORY_USAGE.name))
    an_hour = prices.an_hour(cpus=cpus, memory_bytes=memory, gpus=len(_devices(alive, names.GPU_UTILIZATION.name)))
    return 1000 * an_hour / (3600 * rate)


def slowness(work: dict[str, float]) -> dict[str, float]:
    """Each worker's own time in a step over the median of the others'; nothing where there is but one."""
    return {
        rank: seconds / statistics.median(other for name, other in work.items() if name != rank)
        for rank, seconds in work.items()
        if len(work) > 1
    }


def training_step(alive: Sequence[Instance]) -> str:
    """The step that is trained now: the one a worker began last."""
    return max(alive, key=lambda instance: instance.step_since_s).step if alive else ""


def _losses(alive: Sequence[Instance]) -> list[float]:
    """The workers' last losses in the step that is trained now."""
    step = training_step(alive)
    return [loss for instance in alive for loss in instance.losses(step)]


def _rate(alive: Sequence[Instance], counted: str) -> float:
    rates = [instance.rates[counted].per_s for instance in alive if counted in instance.rates]
    return _sum([rate for rate in rates if rate is not None])


def _gauges(alive: Sequence[Instance], metric: str) -> list[float]:
    return [value for instance in alive for value in instance.gauges.get(metric, {}).values()]


def _devices(alive: Sequence[Instance], metric: str) -> list[float]:
    """A GPU's gauge once per GPU of each host, though each process that may use it reports it."""
    devices: dict[tuple[str, Attributes], float] = {
        (instance.origin.host, device): value
        for instance in alive
        for device, value in instance.gauges.get(metric, {}).items()
    }
    return list(devices.values())


def _sum(values: Sequence[float]) -> float:
    return sum(values) if values else math.nan
