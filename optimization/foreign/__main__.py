"""Converts one model: `python -m optimization.foreign SOURCE TARGET [NAME]`; prints how far its outputs are off."""

import sys
from pathlib import Path

import numpy as np
import onnx

from optimization.errors import GraphError, OptimizationError
from optimization.foreign import model
from optimization.foreign.convert import KERAS
from optimization.foreign.keras_file import KerasFile
from optimization.foreign.model import ForeignModel
from optimization.foreign.saved_model import SavedModel
from optimization.graphs import graph, simplify


def convert(source: Path, target: Path, names: list[str]) -> float:
    """Write `source` as the ONNX file `target` and return how far its outputs are off.

    Raises:
        GraphError: it cannot be loaded, or uses operators that ONNX lacks.
        ExportError: the file computes something else.
    """
    try:
        original: ForeignModel = KerasFile(source) if source.suffix == KERAS else SavedModel(source)
        original.export(target)
    except OptimizationError:
        raise
    except Exception as error:  # Keras, TensorFlow and tf2onnx raise what they like
        raise GraphError(f"{type(error).__name__}: {str(error)[:500]}") from error
    found = onnx.load(target)
    if unknown := sorted({node.op_type for node in found.graph.node if not onnx.defs.has(node.op_type, node.domain)}):
        raise GraphError(f"ONNX has no operators {', '.join(unknown)}, which it uses")
    if not any(attribute.HasField("g") for node in found.graph.node for attribute in node.attribute):
        simplify.simplify(target)  # where there are loops, it puts constants after what reads them
    worst = model.parity(original, target, np.random.default_rng(0))
    found = onnx.load(target)
    graph.name_batch(found)
    if len(names) == len(original.inputs) == 1:
        graph.rename_input(found, names[0])
    onnx.save(found, target)
    return worst


if __name__ == "__main__":
    try:
        print(convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
    except OptimizationError as error:
        sys.exit(" ".join(str(error).split()))
