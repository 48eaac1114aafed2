"""Times what a train worker does on its own, so that a slow one can be told from those that wait for it.

A step lasts as long on every worker, since the gradients' all-reduce makes all wait for the slowest. What tells them
apart is the time before that: fetching examples, and the forward pass of the bare model, inside what wraps it for
several workers (which may wait too, to share buffers or shards).
"""

import time
from typing import Any

import torch
from torch import nn


class Stopwatch:
    """Adds up stretches of a worker's own time; it runs by itself in `model`'s forward pass."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds = 0.0
        self._began = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        model.register_forward_pre_hook(self._enter)
        model.register_forward_hook(self._leave)

    def add(self, seconds: float) -> None:
        """Count a stretch that the forward pass does not cover."""
        self._seconds += seconds

    def take(self) -> float:
        """Seconds since the last time; to be called when the GPU has done what it was given."""
        on_gpu_ms = sum(first.elapsed_time(last) for first, last in self._events)
        seconds = self._seconds + float(on_gpu_ms) / 1000
        self._seconds, self._events = 0.0, []
        return seconds

    def _enter(self, *_: Any) -> None:
        if not self._on_gpu:
            self._began = time.perf_counter()
            return
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        self._events.append((first, last))
        first.record()

    def _leave(self, *_: Any) -> None:
        if self._on_gpu:
            self._events[-1][1].record()
        else:
            self.add(time.perf_counter() - self._began)
