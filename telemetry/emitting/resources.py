"""What a process takes of its machine, as gauges: CPU, memory, file descriptors, its event loop's time, GPUs."""

from telemetry.emitting import event_loop, gpus, object_store, process
from telemetry.emitting.emitter import Emitter


def observe(emitter: Emitter) -> None:
    """Report what this process takes with every export; what this machine has none of is left out."""
    process.observe(emitter)
    event_loop.observe(emitter)
    gpus.observe(emitter)
    object_store.observe(emitter)
