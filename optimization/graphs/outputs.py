"""What a graph's outputs are, as far as its last operators tell: a softmax or a sigmoid makes probabilities."""

from collections.abc import Iterator

import onnx

from optimization.artifact.manifest import Meaning

_PASSING = (
    "Cast", "DequantizeLinear", "Dropout", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze", "Unsqueeze",
)  # fmt: skip
"""Operators that change how values are stored or laid out, and nothing of what they are."""


def meanings(model: onnx.ModelProto) -> tuple[Meaning | None, ...]:
    """What each output is; none where the graph does not tell."""
    makers = {name: node for node in model.graph.node for name in node.output}
    return tuple(_meaning(model, makers, output.name) for output in model.graph.output)


def _meaning(model: onnx.ModelProto, makers: dict[str, onnx.NodeProto], name: str) -> Meaning | None:
    """Logarithms of probabilities are logits: a softmax gives the probabilities back."""
    before = _upwards(makers, name)
    last = next(before, None)
    if last is None:
        return None
    match last.op_type:
        case "Sigmoid":
            return "probabilities"
        case "Softmax" if _is_over_classes(model, last):
            return "probabilities"
        case "LogSoftmax" if _is_over_classes(model, last):
            return "logits"
        case "Log" if (inner := next(before, None)) is not None and inner.op_type == "Softmax":
            return "logits" if _is_over_classes(model, inner) else None
        case _:
            return None


def _upwards(makers: dict[str, onnx.NodeProto], name: str) -> Iterator[onnx.NodeProto]:
    """The operators a value comes from, the last one first, by their first inputs; those that pass it on left out."""
    while (node := makers.get(name)) is not None:
        if node.op_type not in _PASSING:
            yield node
        if not node.input:
            return
        name = node.input[0]


def _is_over_classes(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether a softmax is over the last dimension, which is the second one where a sample has one row of classes."""
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    axis = next((each.i for each in node.attribute if each.name == "axis"), -1 if opset >= 13 else 1)
    rank = _rank(model, node)
    return axis == -1 or (axis == 1 and rank in (None, 2)) or (rank is not None and axis == rank - 1)


def _rank(model: onnx.ModelProto, node: onnx.NodeProto) -> int | None:
    values = (*model.graph.value_info, *model.graph.output)
    known = {each.name: each.type.tensor_type for each in values if each.type.tensor_type.HasField("shape")}
    return len(known[node.output[0]].shape.dim) if node.output[0] in known else None
