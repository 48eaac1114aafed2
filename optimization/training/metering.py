"""What a train worker reports to the collector: its steps, and what it takes of its machine."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from telemetry import conventions
from telemetry.emitting import resources
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter

_TOLD = ("OTEL_", "TRIMTAB_COLLECTOR")
"""How the variables begin."""


class Meter:
    """Telemetry of one worker."""

    def __init__(self, emitter: Emitter, rank: int) -> None:
        self._rank = rank
        self._duration = emitter.histogram(conventions.TRAIN_STEP_DURATION)
        self._work = emitter.histogram(conventions.TRAIN_WORK_DURATION)
        self._samples = emitter.counter(conventions.TRAIN_SAMPLES)
        self._loss = emitter.gauge(conventions.TRAIN_LOSS)

    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:
        """Count one optimizer step; `work_s` is the worker's own part, where it has others to wait for."""
        attributes: Attributes = ((conventions.STEP, step), (conventions.RANK, self._rank))
        self._duration.record(duration_s, attributes)
        if work_s is not None:
            self._work.record(work_s, attributes)
        self._samples.add(num_samples, attributes)
        self._loss.set(loss, attributes)


def variables() -> dict[str, str]:
    """Those of this process that say where to report: its workers may be on nodes that have them not."""
    return {name: value for name, value in os.environ.items() if name.startswith(_TOLD)}


@contextmanager
def reporting(service: str, instance: str, rank: int, told: Mapping[str, str]) -> Iterator[Meter]:
    """Report as a train worker while the block runs, to where the variables say that the driver has `told`."""
    for name, value in told.items():
        os.environ.setdefault(name, value)
    emitter = Emitter(service=service, version="training", role="train_worker", instance=instance)
    resources.observe(emitter)
    meter = Meter(emitter, rank)
    emitter.start()
    try:
        yield meter
    finally:
        emitter.shutdown()
