"""Whether a model answers row by row: only then may requests share a call, or one be split over several.

Names alone do not tell: a detector's `[detections, 6]` may be called a batch, and may by chance have as many rows as
went in. So the model is asked too, with one row, with several, and with rows that differ.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from deployments.batching.padding import MASK
from deployments.oip.tensors import DTYPES, Array
from optimization.artifact.manifest import TensorSpec

LENGTH = 16
"""Tokens of a sequence to warm up with."""

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def ones(inputs: Sequence[TensorSpec], rows: int) -> dict[str, Array]:
    """A batch to warm up with; ones, lest an attention mask hides everything, and of some length where there is one."""
    length = LENGTH if any(spec.name == MASK for spec in inputs) else 1
    feeds: dict[str, Array] = {}
    for spec in inputs:
        sizes = [size if isinstance(size, int) else length for size in spec.shape]
        if spec.shape and isinstance(spec.shape[0], str):
            sizes[0] = rows
        dtype = DTYPES[spec.datatype]
        feeds[spec.name] = np.full(sizes, b"1", dtype) if spec.datatype == "BYTES" else np.ones(sizes, dtype)
    return feeds


def why_not_by_rows(run: Run, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str:
    """Why the model cannot be asked for several requests at once; empty where it can.

    Every tensor's first dimension, and no other, must bear the inputs' name of the batch, and every output must have as
    many rows as went in. What the model raises for one row is raised here too: it is no model to serve.
    """
    batch = inputs[0].shape[0] if inputs and inputs[0].shape else None
    for side, specs in (("input", inputs), ("output", outputs)):
        for spec in specs:
            if not isinstance(batch, str) or spec.shape[:1] != (batch,) or batch in spec.shape[1:]:
                return f"{side} {spec.name!r} has shape {list(spec.shape)}: its first dimension alone must be the batch"
    for feeds, rows in _probes(inputs):
        try:
            found = run(feeds)
        except Exception as error:
            if rows == 1:
                raise
            return f"it takes no {rows} rows: {error}"
        for name, array in found.items():
            if array.shape[:1] != (rows,):
                return f"output {name!r} has shape {list(array.shape)} for {rows} rows"
    return ""


def _probes(inputs: Sequence[TensorSpec]) -> list[tuple[dict[str, Array], int]]:
    """One row, two, and five that differ."""
    unlike = ones(inputs, 5)
    random = np.random.default_rng(0)
    for name, array in unlike.items():
        if array.dtype.kind in "fV":
            array[1:] = random.normal(size=array[1:].shape).astype(array.dtype)
        if array.dtype != object and name != MASK:
            array[-1] = 0
    return [(ones(inputs, 1), 1), (ones(inputs, 2), 2), (unlike, 5)]
