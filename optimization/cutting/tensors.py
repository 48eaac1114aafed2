"""Tensors inside a graph: type, shape and size of each, found by running it, since few files tell."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnxruntime import InferenceSession

from optimization.artifact.manifest import Datatype, TensorSpec
from optimization.cutting import example, runtime

_DATATYPES: dict[str, Datatype] = {
    "tensor(bool)": "BOOL",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
}
"""As the protocol calls what ONNX Runtime does; text and BF16, which numpy lacks, stay within a part."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """What is known of one."""

    spec: TensorSpec
    size_bytes: int
    """With the sizes that the model is timed with."""


def sendable(
    model: onnx.ModelProto,
    folder: Path,
    specs: Sequence[TensorSpec],
    names: Collection[str],
    sizes: Mapping[str, int],
) -> dict[str, Tensor]:
    """Those of the tensors `names` that one part may send another: of a datatype that goes between hosts, and by rows
    where the model is. `sizes` are those of the inputs' free dimensions.

    Sequences are padded to share a batch, along the second dimension: no other dimension may have their length.
    """
    made = {name for node in model.graph.node for name in node.output}
    wanted = sorted(made & set(names))
    if not wanted:
        return {}
    session = _exposing(model, folder, wanted)
    datatypes = {each.name: _DATATYPES[each.type] for each in session.get_outputs() if each.type in _DATATYPES}
    batch = specs[0].shape[0]  # a name where it is free
    others = {name: size + 1 if name == batch else size // 2 or 3 for name, size in sizes.items()}
    first, second = (
        dict(zip(datatypes, session.run(list(datatypes), example.inputs(model, specs, each)), strict=True))
        for each in (sizes, others)
    )
    lengths = {size for spec in specs for size in spec.shape[1:2] if isinstance(size, str)}
    found: dict[str, Tensor] = {}
    for name, datatype in datatypes.items():
        shape = _shape(name, first[name].shape, second[name].shape, sizes, others)
        by_rows = isinstance(batch, int) or (batch in shape[:1] and batch not in shape[1:])
        if shape and by_rows and not lengths & set(shape[2:]):
            spec = TensorSpec(name=name, datatype=datatype, shape=shape)
            found[name] = Tensor(spec=spec, size_bytes=first[name].nbytes)
    return found


def _exposing(model: onnx.ModelProto, folder: Path, names: Sequence[str]) -> InferenceSession:
    """A session that gives those tensors."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = runtime.options(folder, optimized=False)
    options.add_session_config_entry("session.disable_prepacking", "1")  # it is run twice
    return runtime.session(exposed, options)


def _shape(
    name: str, first: Sequence[int], second: Sequence[int], sizes: Mapping[str, int], others: Mapping[str, int]
) -> tuple[int | str, ...]:
    """Which dimensions are fixed, which are the inputs' free ones, and which are others, by how they came out twice."""
    known = {(size, others[dimension]): dimension for dimension, size in sizes.items()}
    return tuple(
        one if one == other else known.get((one, other), f"{name}_{axis}")
        for axis, (one, other) in enumerate(zip(first, second, strict=True))
    )
