"""Writes means over whole pictures as pooling, which ONNX Runtime computes in 8 bits; of a mean it makes fp32.

x ─▶ ReduceMean over all axes but batch and channels        becomes        x ─▶ GlobalAveragePool (─▶ Flatten)
"""

import onnx
from onnx import NodeProto, helper, numpy_helper


def pool(model: onnx.ModelProto) -> None:
    """Rewrite, in place, every such mean of a tensor whose rank is known."""
    graph = model.graph
    described = (*graph.input, *graph.value_info)
    ranks = {each.name: len(each.type.tensor_type.shape.dim) for each in described if _has_shape(each)}
    constants = {each.name: numpy_helper.to_array(each).ravel().tolist() for each in graph.initializer}
    nodes: list[NodeProto] = []
    for node in graph.node:
        rank = ranks.get(node.input[0], 0) if node.op_type == "ReduceMean" else 0
        axes = constants.get(node.input[1], []) if len(node.input) > 1 else []
        if rank < 3 or sorted(axis % rank for axis in axes) != list(range(2, rank)):
            nodes.append(node)
            continue
        keeps_dims = all(each.i for each in node.attribute if each.name == "keepdims")
        pooled = node.output[0] if keeps_dims else f"{node.output[0]}.pooled"
        nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name))
        if not keeps_dims:
            nodes.append(helper.make_node("Flatten", [pooled], [node.output[0]], name=f"{node.name}.flatten"))
    del graph.node[:]
    graph.node.extend(nodes)


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.HasField("shape")
