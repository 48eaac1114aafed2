"""What the parts of a run take on this machine, found by doing a little of each; `plan` adds them up.

A step is done as one of the recipe's workers would do it: its share of a batch on its threads, by the very loop that
trains, in the precision that is chosen here. Batches of texts are taken from the shortest to the longest, so that their
mean is that of an epoch. What the first steps take, in which caches fill, does not count.
"""

import copy
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean, median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.findings import PrecisionChoice
from optimization.distillation import targets
from optimization.graphs import export
from optimization.measuring.latency import BATCH_SIZES
from optimization.networks import models
from optimization.readers.examples import Dataset, Split
from optimization.recipe.methods import SetPrecision
from optimization.training.job import Job
from optimization.training.loop import Place, fit

_NUM_TEXT_BATCHES, _NUM_BATCHES = 6, 2
"""Batches that are tried, over and over: of texts more, since their lengths differ."""
_ENOUGH_S = 0.15
"""No more rounds over these batches begin after so long; at least one counts."""
_MOST_ROUNDS = 30
_AVERAGING_S, _AVERAGING_S_PER_BYTE = 1e-3, 4e-9
"""What averaging the gradients adds to a step of several workers of one machine [gloo, 10 M weights]."""
_QUICK = "import numpy, onnxruntime, pydantic, rich.console, yaml"
"""What an interpreter loads in a quarter of a second; the rest of what runs in Python is told by what that takes."""
_STARTS = 65
"""Times as long, until workers take their first job."""
_EXPORTER, _EXPORT, _TRACES = 4, 1, 6
"""Times as long: loading the exporter, and what each export takes besides so many times what tracing the model does."""
_WRITE, _WRITE_S_PER_BYTE = 0.1, 1e-8
"""Times as long: writing an INT8 file, besides what its bytes take."""
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
    write_s: float = 0.0
    """To be written in INT8."""
    num_weights: int = 0
    """Of its layers that can go to INT8."""

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

    @cached_property
    def _quick_s(self) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", _QUICK], check=True)
        return time.perf_counter() - began

    def start_s(self) -> float:
        """What starting Ray and its workers takes, by what it takes an interpreter to start and load a little."""
        return _STARTS * self._quick_s

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
        """What its export takes, by what tracing it does, and a call of the file, by what torch's takes.

        Neither is tried: one alone takes longer than all else that is tried of a small model.
        """
        structure = repr(model)
        if structure not in self._served:
            self._served[structure] = self._as_file(model)
        return self._served[structure]

    def _as_file(self, model: nn.Module) -> ServedTime:
        data = self._dataset
        served = data.task.served(copy.deepcopy(model)).eval()
        traced_s = [_traced_s(served, data.validation) for _ in range(1 if self._served else 2)][-1]  # one to load it
        call_s = {}
        with _threads(1), torch.inference_mode():
            for size in BATCH_SIZES:
                rows = _batches(data.validation, size)
                batches = [data.validation.batch(part) for part in np.array_split(rows, max(1, len(rows) // size))]
                taken = [_duration(served, export.tensors(batch)) for batch in batches for _ in range(2)]
                call_s[size] = fmean(taken[1::2])
        loading = 0 if self._served else _EXPORTER
        weights = [each for each in model.parameters() if each.dim() > 1]
        return ServedTime(
            export_s=(loading + _EXPORT) * self._quick_s + _TRACES * traced_s,
            call_s=call_s,
            write_s=_WRITE * self._quick_s + _WRITE_S_PER_BYTE * 4 * sum(each.numel() for each in weights),
            num_weights=len(weights),
        )

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


def _traced_s(model: nn.Module, split: Split) -> float:
    began = time.perf_counter()
    with suppress(Exception):  # what cannot be traced so is exported by other ways
        torch.export.export(model, export.tensors(split.batch(np.arange(min(2, len(split))))))
    return time.perf_counter() - began


def _duration(model: nn.Module, batch: tuple[Tensor, ...]) -> float:
    began = time.perf_counter()
    model(*batch)
    return time.perf_counter() - began
