"""Parts of a graph as graphs of their own.

    what a part gives -> back over the nodes, until what earlier parts sent, the model's inputs or weights -> its nodes

So a node goes to each part that needs it and is sent nothing for it, and a weight to each part that has a node for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

from optimization.artifact.manifest import Part, TensorSpec
from optimization.cutting import weights
from optimization.errors import CutError
from optimization.graphs.graph import DATATYPES

_ONNX_TYPES = {datatype: onnx_type for onnx_type, datatype in DATATYPES.items()}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one part gives and what earlier ones sent, by name."""

    sent: frozenset[str]
    gives: tuple[str, ...]


def check(model: onnx.ModelProto) -> None:
    """Refuse what cannot be cut.

    Raises:
        CutError: a node runs a graph of its own, such as a loop or a branch.
    """
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in nodes:
            if any(each.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for each in node.attribute):
                raise CutError(
                    f"the graph must be without control flow to be cut, got the node {node.name!r}, {node.op_type}"
                )


def extracted(model: onnx.ModelProto, stage: Stage, known: Mapping[str, TensorSpec]) -> onnx.ModelProto:
    """The graph of a stage; `known` says what the tensors are that a stage takes or gives. Its weights stay where the
    model's are."""
    graph = model.graph
    makers = {name: at for at, node in enumerate(graph.node) for name in node.output if name}
    numbers: set[int] = set()
    needed: set[str] = set()
    waiting = list(stage.gives)
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in makers and name not in stage.sent and makers[name] not in numbers:
            numbers.add(makers[name])
            waiting += [each for each in graph.node[makers[name]].input if each]
    held = [each for each in graph.initializer if each.name in needed]
    names = {each.name for each in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
    made = {name for number in numbers for name in graph.node[number].output}
    takes = sorted(name for name in needed if name not in made and name not in names)
    ends = {value.name: value for value in (*graph.input, *graph.output)}
    old = [value for value in graph.input if value.name in needed & names]  # weights that old files list as inputs
    part = helper.make_graph(
        [graph.node[number] for number in sorted(numbers)],
        graph.name,
        [*(ends.get(name) or _described(known[name]) for name in takes), *old],
        [ends.get(name) or _described(known[name]) for name in stage.gives],
        held,
        value_info=[value for value in graph.value_info if value.name in made],
        sparse_initializer=[each for each in graph.sparse_initializer if each.values.name in needed],
    )
    part.quantization_annotation.extend(
        each for each in graph.quantization_annotation if each.tensor_name in needed | made
    )
    return helper.make_model(
        part,
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
    )


def write(part: onnx.ModelProto, folder: Path, into: Path, name: str, known: Mapping[str, TensorSpec]) -> Part:
    """Write a stage's graph as `<name>.onnx`; weights that lie beside the model in `folder` lie beside it, too."""
    beside = [each for each in part.graph.initializer if weights.is_beside(each)]
    if beside:
        weights.copy_beside(beside, folder, into / f"{name}.weights")
    (into / f"{name}.onnx").write_bytes(part.SerializeToString())
    held = {each.name for each in part.graph.initializer}
    return Part(
        file=f"{name}.onnx",
        weights=(f"{name}.weights",) if beside else (),
        inputs=tuple(known[value.name] for value in part.graph.input if value.name not in held),
        outputs=tuple(known[value.name] for value in part.graph.output),
    )


def _described(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, _ONNX_TYPES[spec.datatype], list(spec.shape))
