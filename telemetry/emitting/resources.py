"""CPU, memory and GPU of this process, as gauges."""

import logging
import os

import psutil

from telemetry.conventions import GPU_MEMORY_USAGE, GPU_UTILIZATION, PROCESS_CPU_UTILIZATION, PROCESS_MEMORY_USAGE
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter

logger = logging.getLogger(__name__)


def observe(emitter: Emitter) -> None:
    """Report this process's CPU and memory with every export, and the GPUs it may use where there are any."""
    process = psutil.Process()
    num_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    process.cpu_percent()  # the first call only sets the starting point
    emitter.gauge(PROCESS_CPU_UTILIZATION, lambda: {(): process.cpu_percent() / 100 / num_cpus})
    emitter.gauge(PROCESS_MEMORY_USAGE, lambda: {(): process.memory_info().rss})
    _observe_gpus(emitter)


def _observe_gpus(emitter: Emitter) -> None:
    try:
        import pynvml  # the extra "gpu"
    except ImportError:
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        logger.debug("no GPU is reported: %s", error)
        return
    handles = {_gpu(i): pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())}
    emitter.gauge(
        GPU_UTILIZATION, lambda: {at: pynvml.nvmlDeviceGetUtilizationRates(h).gpu / 100 for at, h in handles.items()}
    )
    emitter.gauge(GPU_MEMORY_USAGE, lambda: {at: pynvml.nvmlDeviceGetMemoryInfo(h).used for at, h in handles.items()})


def _gpu(index: int) -> Attributes:
    return (("hw.id", str(index)),)
