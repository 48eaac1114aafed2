"""Measures what is served: the quality of ONNX files, and the reference histograms for drift."""

import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimization.artifact.manifest import Histogram, Machine, Quality
from optimization.graphs import graph
from optimization.measuring import processor
from optimization.readers.examples import Inputs, Split

_NUM_BINS = 20
_PREDICT_AT_ONCE = 256


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


def accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64], metric: str = "accuracy") -> Quality:
    """Fraction of right classes, with its interval; `metric` is what it is called."""
    num_right, num_samples = int((classes(probabilities) == labels).sum()), len(labels)
    low, high = wilson(num_right, num_samples)
    return Quality(metric=metric, value=num_right / num_samples, low=low, high=high, num_samples=num_samples)


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
    return Machine(cpu=processor.name(), num_cpus=os.cpu_count() or 1)


def _histogram(name: str, values: NDArray[np.float32]) -> Histogram:
    """Equal shares of the values in each bin, as far as ties allow; a value on an edge counts above it."""
    edges = np.unique(np.quantile(values.astype(np.float64), np.linspace(0, 1, _NUM_BINS + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return Histogram(name=name, edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))
