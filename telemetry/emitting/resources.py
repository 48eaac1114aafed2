"""What a process takes of its machine (CPU, memory, file descriptors, event loop, GPUs), and what it logs."""

from telemetry.emitting import event_loop, gpus, logs, object_store, process
from telemetry.emitting.emitter import Emitter


def observe(emitter: Emitter) -> None:
    """Report what this process takes with every export, and what it logs; what this machine has none of is left out."""
    process.observe(emitter)
    event_loop.observe(emitter)
    gpus.observe(emitter)
    object_store.observe(emitter)
    logs.observe(emitter)
