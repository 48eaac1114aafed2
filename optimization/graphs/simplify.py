"""Brings a model into a form that exports to few nodes, and removes from a graph what computes nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnxslim
from onnx import numpy_helper
from torch import nn

from optimization.graphs import residuals

OPSET = 20
"""ONNX operators: the first set that has GELU as one, and the last that writes attention out in parts.

ONNX Runtime's own attention operator of later sets takes no mask that is to be broadcast. One GELU and less around it
made MiniLM 5 % faster in fp32 and 15 % in INT8; onnxruntime.transformers fuses no more of these graphs and gained
nothing beyond.
"""


@contextmanager
def plain_attention(model: nn.Module) -> Iterator[None]:
    """While the block runs, Hugging Face models write attention out in parts; torch's own adds checks for NaN to it."""
    configs: list[Any] = [module.config for module in model.modules() if hasattr(module, "config")]
    before = [(each, each._attn_implementation) for each in configs if hasattr(each, "_attn_implementation")]
    try:
        for config, _ in before:
            config._attn_implementation = "eager"
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation = implementation


def simplify(path: Path) -> None:
    """Fold constants and remove nodes without effect from the ONNX file `path`, in place, and forget where it was made.

    Sums before normalisations become differences, which ONNX Runtime runs faster.

    The exporter writes stack traces into every node: they are large and name this machine's folders.
    """
    model: onnx.ModelProto = onnxslim.slim(onnx.load(path))
    residuals.subtract(model)
    described: list[Any] = [*model.graph.node, *model.graph.input, *model.graph.output]
    described += [*model.graph.value_info, *model.graph.initializer]
    for each in described:
        del each.metadata_props[:]
        each.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    onnx.save(model, path)


def drop_defaults(path: Path) -> None:
    """Remove from the INT8 file `path`, in place, what ONNX Runtime knows without being told.

    That is operator sets that no node comes from, and the zero points of biases, one for each channel. Those of 8-bit
    weights stay, and so do the shapes between nodes: without them less would be fused.
    """
    model = onnx.load(path)
    graph = model.graph
    zeros = {
        each.name
        for each in graph.initializer
        if each.data_type == onnx.TensorProto.INT32 and not numpy_helper.to_array(each).any()
    }
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[-1] in zeros:
            del node.input[2:]
    read = {name for node in graph.node for name in node.input}
    _keep(graph.initializer, lambda each: each.name not in zeros or each.name in read)
    domains = {node.domain for node in graph.node} | {""}
    _keep(model.opset_import, lambda each: each.domain in domains)
    onnx.save(model, path)


def _keep(messages: Any, wanted: Callable[[Any], bool]) -> None:
    """Leave out of a repeated field what is not wanted."""
    kept = [each for each in messages if wanted(each)]
    del messages[:]
    messages.extend(kept)
