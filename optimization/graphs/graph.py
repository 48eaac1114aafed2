"""What an ONNX file says of itself: whether it is whole, its inputs and outputs, its weights."""

import math
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from optimization.artifact.manifest import Datatype, Meaning, TensorSpec
from optimization.errors import GraphError
from optimization.readers.examples import Inputs

DATATYPES: dict[int, Datatype] = {
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.STRING: "BYTES",
}
"""What the protocol calls ONNX's element types."""


def read(path: Path, *, is_one_file: bool = True) -> onnx.ModelProto:
    """Read and check the ONNX file `path`; weights that lie in other files stay there.

    Raises:
        GraphError: it is missing, damaged, ONNX Runtime cannot run it, or it keeps weights in other files and must be
            one.
    """
    if not path.is_file():
        raise GraphError(f"{path} must be an ONNX file, got {'a directory' if path.is_dir() else 'no file'}")
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise GraphError(f"{path} is no ONNX file, or truncated: {error}") from error
    if not model.graph.output:
        raise GraphError(f"{path} is no ONNX file, or truncated: its graph has no outputs")
    if is_one_file and (outside := weight_files(model)):
        raise GraphError(
            f"{path} must hold its weights itself, got weights in {', '.join(outside)}: "
            f"save it as one file, with onnx.save(onnx.load(path), path)"
        )
    session(path)
    return model


def session(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on one thread of the CPU.

    Raises:
        GraphError: ONNX Runtime cannot run the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base but this
        raise GraphError(f"ONNX Runtime cannot run {path}: {error}") from error


def predict(on: onnxruntime.InferenceSession, inputs: Inputs) -> NDArray[np.float32]:
    """The first output."""
    outputs: NDArray[np.float32] = on.run(None, inputs)[0]
    return outputs


def specs(values: Sequence[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Name, type and shape of a graph's inputs or outputs; a dynamic dimension without a name is given one.

    Raises:
        GraphError: one is no tensor, has a type the protocol lacks, or no batch dimension.
    """
    return tuple(_spec(value) for value in values)


def inputs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The inputs a caller must give; weights that old files list as inputs are left out."""
    weights = {initializer.name for initializer in model.graph.initializer}
    return specs([value for value in model.graph.input if value.name not in weights])


def outputs(model: onnx.ModelProto, *meanings: Meaning | None) -> tuple[TensorSpec, ...]:
    """The outputs a caller gets; `meanings` say what the first of them are."""
    return tuple(
        spec.model_copy(update={"meaning": meaning})
        for spec, meaning in zip_longest(specs(model.graph.output), meanings)
    )


def name_batch(model: onnx.ModelProto) -> None:
    """Call the first dimension of inputs and outputs "batch" where it varies, in place."""
    for value in (*model.graph.input, *model.graph.output):
        first = value.type.tensor_type.shape.dim[:1]
        if first and not first[0].HasField("dim_value"):
            first[0].dim_param = "batch"


def rename_input(model: onnx.ModelProto, name: str) -> None:
    """Call the first input that, in place."""
    before = inputs(model)[0].name
    for value in model.graph.input:
        value.name = name if value.name == before else value.name
    for node in model.graph.node:
        node.input[:] = [name if each == before else each for each in node.input]


def num_parameters(model: onnx.ModelProto) -> int:
    """Numbers in all weights, biases among them."""
    return sum(math.prod(each.dims) for each in model.graph.initializer)


def sparsity(model: onnx.ModelProto) -> float:
    """Fraction of zeros among the weights; biases, scales and other vectors do not count."""
    weights = [numpy_helper.to_array(each) for each in model.graph.initializer if len(each.dims) > 1]
    num_weights = sum(weight.size for weight in weights)
    return 1 - sum(int(np.count_nonzero(weight)) for weight in weights) / num_weights if num_weights else 0.0


def weight_files(model: onnx.ModelProto) -> tuple[str, ...]:
    """The files beside the graph's that weights lie in; models beyond 2 GB need such."""
    beside = [each for each in model.graph.initializer if each.data_location == TensorProto.EXTERNAL]
    return tuple(sorted({entry.value for each in beside for entry in each.external_data if entry.key == "location"}))


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    if tensor.elem_type not in DATATYPES:
        name = TensorProto.DataType.Name(tensor.elem_type) if value.type.HasField("tensor_type") else "no tensor"
        raise GraphError(f"{value.name!r} must be a tensor of {', '.join(DATATYPES.values())}, got {name}")
    if not tensor.HasField("shape") or not tensor.shape.dim:
        raise GraphError(
            f"{value.name!r} must have a batch dimension, got {'a scalar' if tensor.HasField('shape') else 'no shape'}"
        )
    sizes = (
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or _dynamic(value.name, axis)
        for axis, dim in enumerate(tensor.shape.dim)
    )
    return TensorSpec(name=value.name, datatype=DATATYPES[tensor.elem_type], shape=tuple(sizes))


def _dynamic(name: str, axis: int) -> str:
    return "batch" if axis == 0 else f"{name}_{axis}"
