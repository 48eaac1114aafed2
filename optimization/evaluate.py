"""Measures what is served: quality, size and latency of ONNX files, and the reference histograms for drift."""

import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimization import graph
from optimization.artifact import Histogram, Machine, Quality
from optimization.examples import Inputs, Split

BATCH_SIZES = (1, 32)
"""Batch sizes latency is measured at."""

_NUM_BINS = 20
_PREDICT_AT_ONCE = 256
_NUM_TEXT_BATCHES = 30
_ROUNDS = 60
_ROUND_S = 0.004
"""Each model runs this long in each of the rounds, the models taking turns, so that noise meets all of them."""


def predict(path: Path, split: Split) -> NDArray[np.float32]:
    """Probabilities of shape [samples, outputs]."""
    session = graph.session(path)
    found: dict[int, NDArray[np.float32]] = {}
    for rows, batch in split.batches(_PREDICT_AT_ONCE):
        found |= dict(zip(rows.tolist(), graph.predict(session, batch), strict=True))
    return np.stack([found[row] for row in range(len(split))])


def classes(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class each row of probabilities stands for."""
    if probabilities.shape[1] == 1:
        return (probabilities[:, 0] > 0.5).astype(np.int64)
    return np.asarray(probabilities.argmax(axis=1), np.int64)


def accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Quality:
    """Fraction of right classes, with its interval."""
    num_right, num_samples = int((classes(probabilities) == labels).sum()), len(labels)
    low, high = wilson(num_right, num_samples)
    return Quality(metric="accuracy", value=num_right / num_samples, low=low, high=high, num_samples=num_samples)


def wilson(num_right: int, num_samples: int, z: float = 1.959964) -> tuple[float, float]:
    """Score interval of a proportion, 95 % unless told (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    share = num_right / num_samples
    shrink = 1 + z**2 / num_samples
    centre = (share + z**2 / (2 * num_samples)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / num_samples + z**2 / (4 * num_samples**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Fraction of samples that get the same class from both."""
    return float((classes(one) == classes(other)).mean())


def latencies(models: Mapping[str, Path], split: Split) -> dict[str, dict[int, float]]:
    """Seconds of a call on one thread, by model and batch size; the models take turns.

    It is the median where all samples have one shape. Texts differ in length: of them, several batches drawn from
    `split` are measured, cut to their longest as in service, and the medians averaged.
    """
    sessions = {name: graph.session(path) for name, path in models.items()}
    measured: dict[str, dict[int, float]] = {name: {} for name in models}
    for batch_size in BATCH_SIZES:
        batches = _batches(split, batch_size)
        medians: dict[str, list[float]] = {name: [] for name in models}
        for batch in batches:
            durations: dict[str, list[float]] = {name: [] for name in models}
            for _ in range(max(1, _ROUNDS // len(batches))):
                for name, session in sessions.items():
                    durations[name] += _durations(partial(session.run, None, batch))
            for name in models:
                medians[name].append(float(np.median(durations[name])))
        for name in models:
            measured[name][batch_size] = float(np.mean(medians[name]))
    return measured


def speedup(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """How many times faster a model is, by the geometric mean over the batch sizes both were measured at."""
    return math.exp(float(np.mean([math.log(before[size] / after[size]) for size in after])))


def _batches(split: Split, batch_size: int) -> list[Inputs]:
    """One batch, or of texts several, of random samples; equal calls give equal batches."""
    if split.lengths is None:
        return [split.batch(np.arange(batch_size) % len(split))]
    random = np.random.default_rng(0)
    return [split.batch(random.integers(0, len(split), batch_size)) for _ in range(_NUM_TEXT_BATCHES)]


def histograms(inputs: Inputs, probabilities: NDArray[np.float32]) -> tuple[Histogram, ...]:
    """How the values of float inputs and the probability of the predicted class are distributed."""
    top = np.maximum(probabilities, 1 - probabilities) if probabilities.shape[1] == 1 else probabilities
    floats = {name: values for name, values in inputs.items() if values.dtype.kind == "f"}
    return (
        *(_histogram(name, values.ravel()) for name, values in floats.items()),
        _histogram("top_probability", top.max(axis=1)),
    )


def machine() -> Machine:
    """Where the latencies are measured."""
    return Machine(cpu=_cpu_name(), num_cpus=os.cpu_count() or 1)


def _durations(call: Callable[[], object]) -> list[float]:
    ends = time.perf_counter() + _ROUND_S
    durations: list[float] = []
    while not durations or time.perf_counter() < ends:
        began = time.perf_counter()
        call()
        durations.append(time.perf_counter() - began)
    return durations


def _histogram(name: str, values: NDArray[np.float32]) -> Histogram:
    """Equal shares of the values in each bin, as far as ties allow; a value on an edge counts above it."""
    edges = np.unique(np.quantile(values.astype(np.float64), np.linspace(0, 1, _NUM_BINS + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return Histogram(name=name, edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
