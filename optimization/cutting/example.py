"""Inputs to try a model with that nobody has described: of each type, of any size of what is free."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from optimization.artifact.manifest import TensorSpec
from optimization.errors import CutError
from optimization.readers.examples import Inputs

_DTYPES = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "object"}
"""Other datatypes are called in numpy as in the protocol."""


def free_sizes(inputs: Sequence[TensorSpec], batch: int, length: int) -> dict[str, int]:
    """A size for each dimension that is free, by its name: `batch` for the first, at most `length` for others, which
    differ."""
    sizes: dict[str, int] = {}
    for spec in inputs:
        for size in spec.shape[:1]:
            if isinstance(size, str):
                sizes[size] = batch
    others = dict.fromkeys(size for spec in inputs for size in spec.shape[1:] if isinstance(size, str))
    rest = [name for name in others if name not in sizes]
    return sizes | {name: max(1, length * (len(rest) - at) // len(rest)) for at, name in enumerate(rest)}


def inputs(model: onnx.ModelProto, specs: Sequence[TensorSpec], sizes: Mapping[str, int], seed: int = 0) -> Inputs:
    """Random tensors of those sizes: floats of a normal distribution, numbers of rows where a table is looked up, bytes
    of any value, else zeros and ones, the first of each row a one, lest a mask hides everything.

    Raises:
        CutError: an input is of a type that numpy lacks.
    """
    random = np.random.default_rng(seed)
    tables = _rows_of_tables(model)
    feeds: Inputs = {}
    for spec in specs:
        shape = [sizes[size] if isinstance(size, str) else size for size in spec.shape]
        if spec.datatype == "BF16":
            raise CutError(f"input {spec.name!r} must be of a type that numpy has, to try the parts with, got BF16")
        dtype = np.dtype(_DTYPES.get(spec.datatype, spec.datatype.lower()))
        match dtype.kind:
            case "O":
                feeds[spec.name] = np.full(shape, "1", dtype)
            case "f":
                feeds[spec.name] = random.standard_normal(shape).astype(dtype)
            case _ if spec.name in tables:
                feeds[spec.name] = random.integers(0, tables[spec.name], shape).astype(dtype)
            case _ if spec.datatype == "UINT8":
                feeds[spec.name] = random.integers(0, 256, shape).astype(dtype)
            case _:
                feeds[spec.name] = random.integers(0, 2, shape).astype(dtype)
                feeds[spec.name][..., :1] = 1
    return feeds


def _rows_of_tables(model: onnx.ModelProto) -> dict[str, int]:
    """Of each input that is a row's number in a table of weights, how many rows that has; the fewest of several."""
    weights = {each.name: each.dims[0] for each in model.graph.initializer if each.dims}
    same = {value.name: value.name for value in model.graph.input}
    rows: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in ("Cast", "Identity") and node.input[0] in same:
            same[node.output[0]] = same[node.input[0]]
        elif node.op_type == "Gather" and node.input[0] in weights and node.input[1] in same:
            name = same[node.input[1]]
            rows[name] = min(rows.get(name, weights[node.input[0]]), weights[node.input[0]])
    return rows
