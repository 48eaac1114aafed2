"""What a model of another framework must tell to be converted, and the proof that its ONNX file computes the same."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from optimization.errors import ExportError
from optimization.graphs import graph
from optimization.readers.examples import Inputs

TOLERANCE = 1e-4
"""How far outputs may be apart."""
_SIZES = ((1, 4), (3, 9), (5, 6))
"""Samples in a batch, and the size of every other dimension that varies."""


class ForeignModel(Protocol):
    """A model in its own framework, loaded."""

    @property
    def inputs(self) -> dict[str, tuple[tuple[int | None, ...], np.dtype[Any]]]:
        """Shape and type of each input by name, in the order it takes them; none is a dimension that varies."""
        ...

    def predict(self, inputs: Inputs) -> NDArray[np.float32]:
        """Its first output."""
        ...

    def export(self, target: Path) -> None:
        """Write it as an ONNX file."""
        ...


def parity(model: ForeignModel, path: Path, random: np.random.Generator) -> float:
    """Largest difference between the model and its ONNX file, on random batches of several sizes.

    Raises:
        ExportError: it is larger than `TOLERANCE`, or the file takes no other sizes than it was traced with.
    """
    session, worst = graph.session(path), 0.0
    for num_samples, side in _SIZES:
        batch = random_batch(model, num_samples, side, random)
        expected = model.predict(batch)
        try:
            difference = float(np.abs(graph.predict(session, batch) - expected).max())
        except Exception as error:  # ONNX Runtime's errors share no base but this
            raise ExportError(f"the ONNX file cannot take {num_samples} samples: {error}") from error
        worst = max(worst, difference)
    if not worst <= TOLERANCE:
        raise ExportError(f"the ONNX file must equal the original to {TOLERANCE}, got a difference of {worst:.2g}")
    return worst


def random_batch(model: ForeignModel, num_samples: int, side: int, random: np.random.Generator) -> Inputs:
    """Floats in [0, 1); whole numbers are 0 or 1, which any table of embeddings has."""
    batch: Inputs = {}
    for name, (shape, dtype) in model.inputs.items():
        sizes = [num_samples, *(side if size is None else size for size in shape[1:])]
        values = random.random(sizes) if dtype.kind == "f" else random.integers(0, 2, sizes)
        batch[name] = values.astype(dtype)
    return batch
