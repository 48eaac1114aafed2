"""Tensors inside a graph: type, shape and size of each, found by running it, since few files tell."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from optimization.artifact.manifest import Datatype, TensorSpec
from optimization.cutting import example, runtime
from optimization.readers.examples import Inputs

_DATATYPES: dict[str, Datatype] = {
    "bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64", "int8": "INT8", "int16": "INT16",
    "int32": "INT32", "int64": "INT64", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
}  # fmt: skip
"""As the protocol calls what numpy does; text stays within a part."""


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
    others = {name: size + 1 if name == _batch(specs) else max(1, size // 2) for name, size in sizes.items()}
    first, second = (_values(model, folder, example.inputs(model, specs, each), wanted) for each in (sizes, others))
    lengths = {size for spec in specs for size in spec.shape[1:2] if isinstance(size, str)}
    found: dict[str, Tensor] = {}
    for name in wanted:
        datatype = _DATATYPES.get(first[name].dtype.name)
        if datatype is None or not first[name].ndim:
            continue
        shape = _shape(name, first[name].shape, second[name].shape, sizes, others)
        by_rows = _batch(specs) is None or (shape[0] == _batch(specs) and _batch(specs) not in shape[1:])
        if by_rows and not lengths & set(shape[2:]):
            spec = TensorSpec(name=name, datatype=datatype, shape=shape)
            found[name] = Tensor(spec=spec, size_bytes=first[name].nbytes)
    return found


def _batch(specs: Sequence[TensorSpec]) -> str | None:
    """The name of the dimension that counts the samples; none where their number is fixed."""
    first = specs[0].shape[0]
    return first if isinstance(first, str) else None


def _values(model: onnx.ModelProto, folder: Path, feeds: Inputs, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What those tensors are for an input."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = runtime.options(folder, optimized=False)
    options.add_session_config_entry("session.disable_prepacking", "1")  # it is run twice
    session = runtime.session(exposed, options)
    return dict(zip(names, session.run(names, feeds), strict=True))


def _shape(
    name: str, first: Sequence[int], second: Sequence[int], sizes: Mapping[str, int], others: Mapping[str, int]
) -> tuple[int | str, ...]:
    """Which dimensions are fixed, which are the inputs' free ones, and which are others, by how they came out twice."""
    known = {(size, others[dimension]): dimension for dimension, size in sizes.items()}
    return tuple(
        one if one == other else known.get((one, other), f"{name}_{axis}")
        for axis, (one, other) in enumerate(zip(first, second, strict=True))
    )
