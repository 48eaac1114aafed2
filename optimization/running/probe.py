"""What the parts of a run take on this machine, found by doing a little of each; `plan` adds them up.

A step is done as one of the recipe's workers would do it: its share of a batch on its threads, by the very loop that
trains, in the precision that is chosen here. Batches of texts are taken from the shortest to the longest, so that their
mean is that of an epoch. What the first steps take, in which caches fill, does not count.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from torch import nn

from optimization.artifact.findings import PrecisionChoice
from optimization.distillation import targets
from optimization.graphs import export, graph
from optimization.measuring.latency import BATCH_SIZES
from optimization.networks import models
from optimization.readers.examples import Dataset, Inputs, Split
from optimization.recipe.methods import SetPrecision
from optimization.training.job import Job
from optimization.training.loop import Place, fit

_NUM_TEXT_BATCHES, _NUM_BATCHES = 6, 2
"""Batches that are tried, over and over: of texts more, since their lengths differ."""
_ENOUGH_S = 0.5
"""No more rounds over these batches begin after so long; at least one counts."""
_MOST_ROUNDS = 30
_AVERAGING_S, _AVERAGING_S_PER_BYTE = 1e-3, 4e-9
"""What averaging the gradients adds to a step of several workers of one machine [gloo, 10 M weights]."""
_LOADED = "import torch, ray.train.torch"
_STARTS = 6
"""Such loads that follow each other, or share the CPUs, until workers take their first job."""
_EPOCH_S = 0.05
"""What an epoch takes for telling the driver of it, besides its checkpoint."""


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """What a training takes."""

    step_s: float
    """Of one optimizer step, all workers together."""
    epoch_s: float
    """What each epoch takes besides its steps."""
    choice: PrecisionChoice | None = None
    """The precision the step was done in, where the training leaves that open."""


@dataclass(frozen=True, kw_only=True)
class ServedTime:
    """What a model takes as an ONNX file."""

    export_s: float
    call_s: dict[int, float]
    """Of a call on one thread, by batch size."""

    @property
    def example_s(self) -> float:
        """Of one example among many."""
        largest = max(self.call_s)
        return self.call_s[largest] / largest


class Probe:
    """Tries parts of a run of `num_workers` workers; what was tried once is known for models that are built alike."""

    def __init__(self, dataset: Dataset, *, num_workers: int, num_threads: int) -> None:
        self._dataset = dataset
        self._num_workers = num_workers
        self._num_threads = num_threads
        self._served: dict[str, ServedTime] = {}

    def start_s(self) -> float:
        """What starting Ray and its workers takes, by what it takes an interpreter to load what they load."""
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", _LOADED], check=True)
        return _STARTS * (time.perf_counter() - began)

    def step(self, job: Job) -> StepTime:
        """What the job's training takes, of which a few steps are done; its model is trained by them."""
        share = max(1, job.training.batch_size // self._num_workers)
        split = self._dataset.train if job.soft is not None else self._dataset.train.labelled()
        part = split.take(_batches(split, share))
        settings = job.training.model_copy(update={"epochs": 1 + _MOST_ROUNDS, "batch_size": share, "sharded": False})
        steps, choice = _Durations(), job.choice
        ends: list[float] = []
        with _threads(self._num_threads):
            for progress in fit(replace(job, training=settings), part, steps, Place()):
                choice = progress.choice
                ends.append(time.perf_counter())
                if len(ends) > 1 and ends[-1] - ends[0] > _ENOUGH_S:
                    break
        rounds_s = [float(each.sum()) for each in np.array_split(np.asarray(steps.seconds), len(ends))]
        counted_s = median(rounds_s[1:] or rounds_s)
        besides_s = max(0.0, float(np.median(np.diff(ends))) - counted_s) if len(ends) > 1 else 0.0
        own_s = counted_s * len(ends) / len(steps.seconds)
        step_s = self._together(own_s) + self._averaging_s(job.model)
        return StepTime(step_s=step_s, epoch_s=besides_s + _EPOCH_S, choice=choice)

    def answer_s(self, teacher: nn.Module, wanted: SetPrecision) -> float:
        """What the teacher takes for its answer to one example, all workers together."""
        split = self._dataset.train
        part = split.take(_batches(split, targets.AT_ONCE))
        with _threads(self._num_threads):
            choice = targets.faster(teacher, part) if wanted == "auto" else None
            asked = targets.in_precision(teacher, wanted, choice)
            targets.teacher_logits(asked, part)
            began = time.perf_counter()
            targets.teacher_logits(asked, part)
            return self._together((time.perf_counter() - began) / len(part)) / self._num_workers

    def served(self, model: nn.Module) -> ServedTime:
        """What its export takes, and a call of the file that comes of it."""
        structure = repr(model)
        if structure not in self._served:
            self._served[structure] = self._exported(model)
        return self._served[structure]

    def _exported(self, model: nn.Module) -> ServedTime:
        data = self._dataset
        with TemporaryDirectory(prefix="trimtab-") as folder:
            path = Path(folder) / "model.onnx"
            if not self._served:  # the first export loads the exporter, which the run need not do again
                export.export(model, path, data.train, task=data.task)
            began = time.perf_counter()
            export.export(model, path, data.train, task=data.task)
            export_s = time.perf_counter() - began
            session = graph.session(path)
            call_s = {}
            for size in BATCH_SIZES:
                rows = _batches(data.validation, size)
                batches = [data.validation.batch(part) for part in np.array_split(rows, max(1, len(rows) // size))]
                taken = [_duration(session, batch) for batch in batches for _ in range(2)]
                call_s[size] = fmean(taken[1::2])
        return ServedTime(export_s=export_s, call_s=call_s)

    def _together(self, own_s: float) -> float:
        """What workers take for what one takes alone, where they outnumber the CPUs of this machine.

        On a cluster of several machines, `RAY_ADDRESS` tells, each is taken to have its own.
        """
        num_cpus = os.cpu_count() or 1
        wanted = self._num_workers * self._num_threads
        return own_s if "RAY_ADDRESS" in os.environ else own_s * max(1.0, wanted / num_cpus)

    def _averaging_s(self, model: nn.Module) -> float:
        if self._num_workers == 1:
            return 0.0
        return _AVERAGING_S + _AVERAGING_S_PER_BYTE * 4 * models.num_parameters(model)


@dataclass(frozen=True, kw_only=True)
class _Durations:
    """A meter that keeps what a step takes."""

    seconds: list[float] = field(default_factory=list)

    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:  # noqa: ARG002
        """Keep one."""
        self.seconds.append(duration_s)


@contextmanager
def _threads(num: int) -> Iterator[None]:
    """Let torch compute on so many threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(split: Split, size: int) -> NDArray[np.int64]:
    """Rows of some batches of that size, one batch after the other; of texts from the shortest to the longest."""
    size = min(size, len(split))
    num_whole = len(split) // size
    if split.lengths is None:
        return np.random.default_rng(0).permutation(len(split))[: min(num_whole, _NUM_BATCHES) * size]
    num = min(num_whole, _NUM_TEXT_BATCHES)
    firsts = ((np.arange(num) + 0.5) / num * num_whole).astype(np.int64) * size
    order = np.argsort(split.lengths, kind="stable")
    return np.concatenate([order[first : first + size] for first in firsts])


def _duration(session: InferenceSession, batch: Inputs) -> float:
    began = time.perf_counter()
    graph.predict(session, batch)
    return time.perf_counter() - began
