"""The GPUs that this process may use, by NVML."""

import logging

from telemetry.conventions import GPU_MEMORY_LIMIT, GPU_MEMORY_USAGE, GPU_POWER, GPU_UTILIZATION
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter

logger = logging.getLogger(__name__)

_IS_GPU = (("hw.type", "gpu"),)
"""The conventions want it of what any hardware may report, such as power."""


def observe(emitter: Emitter) -> None:
    """Report their use, memory and power with every export, where there are any."""
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
    emitter.gauge(
        GPU_POWER, lambda: {(*at, *_IS_GPU): pynvml.nvmlDeviceGetPowerUsage(h) / 1000 for at, h in handles.items()}
    )
    limit = emitter.gauge(GPU_MEMORY_LIMIT)
    for at, handle in handles.items():
        limit.set(pynvml.nvmlDeviceGetMemoryInfo(handle).total, at)


def _gpu(index: int) -> Attributes:
    return (("hw.id", str(index)),)
