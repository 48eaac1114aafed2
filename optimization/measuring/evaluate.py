"""Measures what is served: the quality of ONNX files, and the reference for drift."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimization.artifact.manifest import Machine, Meaning, Quality, TextPreprocessing
from optimization.artifact.reference.measure import reference_of
from optimization.artifact.reference.reference import Reference
from optimization.artifact.reference.views import Columns, Views
from optimization.artifact.reference.vocabulary import Vocabulary
from optimization.graphs import graph
from optimization.measuring import processor
from optimization.readers.examples import Dataset, Split, in_order
from optimization.tasks.task import Task

_PREDICT_AT_ONCE = 256
_REFERENCE_ROWS = 10_000


def predict(path: Path, split: Split, task: Task, output: Meaning) -> NDArray[np.float32]:
    """What the file answers, as the task reads such an `output`: of a classifier, probabilities [samples, outputs].

    Raises:
        GraphError: the task does not know what the file gives.
    """
    session = graph.session(path)
    found: dict[int, NDArray[np.float32]] = {}
    for rows, batch in split.batches(_PREDICT_AT_ONCE):
        found |= dict(zip(rows.tolist(), graph.predict(session, batch), strict=True))
    return task.read(in_order(found), output)


def quality(right: NDArray[np.bool_], metric: str = "accuracy") -> Quality:
    """Fraction of right answers, with its interval; `metric` is what it is called."""
    num_right, num_samples = int(right.sum()), len(right)
    low, high = wilson(num_right, num_samples)
    return Quality(metric=metric, value=num_right / num_samples, low=low, high=high, num_samples=num_samples)


def wilson(num_right: int, num_samples: int, z: float = 1.959964) -> tuple[float, float]:
    """Score interval of a proportion, 95 % unless told (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    share = num_right / num_samples
    shrink = 1 + z**2 / num_samples
    centre = (share + z**2 / (2 * num_samples)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / num_samples + z**2 / (4 * num_samples**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def reference(path: Path, dataset: Dataset, output: Meaning) -> Reference:
    """What the file is asked, and what it answers, on held-out examples: `_REFERENCE_ROWS` of them at most."""
    held_out = dataset.held_out
    rows = np.linspace(0, len(held_out) - 1, min(len(held_out), _REFERENCE_ROWS)).astype(np.int64)
    chosen, model, session = held_out.take(np.unique(rows)), graph.read(path), graph.session(path)
    inputs, outputs = graph.inputs(model), graph.outputs(model, output)
    vocabulary = None
    if isinstance(dataset.preprocessing, TextPreprocessing):
        vocabulary = Vocabulary(dataset.files[dataset.preprocessing.tokenizer])
    views = Views(inputs, outputs, task=dataset.task.kind, vocabulary=vocabulary)
    asked, answered = [], []
    for _, batch in chosen.batches(_PREDICT_AT_ONCE):
        asked.append(views.inputs(batch))
        answered.append(views.outputs({outputs[0].name: graph.predict(session, batch)}))
    return reference_of(views, _joined(asked), _joined(answered))


def machine() -> Machine:
    """Where the latencies are measured."""
    return Machine(cpu=processor.name(), num_cpus=os.cpu_count() or 1)


def _joined(batches: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
