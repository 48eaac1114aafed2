from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from optimization.artifact.manifest import Meaning
from optimization.graphs import outputs
from optimization.quantization import quantize
from tests.optimization import architectures


def ending(*nodes: tuple[str, dict[str, object]], opset: int = 20) -> onnx.ModelProto:
    """A graph of those operators, one after the other."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 4])
    made = [
        helper.make_node(kind, [f"v{number}", *(["shape"] if kind == "Reshape" else [])], [f"v{number + 1}"], **named)
        for number, (kind, named) in enumerate(nodes)
    ]
    first, last = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("v0", f"v{len(nodes)}")
    )
    graph = helper.make_graph(made, "toy", [first], [last], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    onnx.checker.check_model(model)
    return model


CAST = ("Cast", {"to": TensorProto.FLOAT})
SOFTMAX = ("Softmax", {"axis": 1})


@pytest.mark.parametrize(
    ("nodes", "meaning"),
    [
        ([SOFTMAX], "probabilities"),
        ([("Softmax", {})], "probabilities"),
        ([("Softmax", {"axis": 0})], None),
        ([("Sigmoid", {})], "probabilities"),
        ([("LogSoftmax", {"axis": -1})], "logits"),
        ([SOFTMAX, ("Log", {})], "logits"),
        ([SOFTMAX, ("Identity", {}), CAST, ("Reshape", {})], "probabilities"),
        ([SOFTMAX, ("Neg", {})], None),
        ([("Relu", {})], None),
        ([("Identity", {})], None),
    ],
)
def test_what_an_output_is_stands_at_the_graphs_end(
    nodes: list[tuple[str, dict[str, object]]], meaning: Meaning | None
) -> None:
    assert outputs.meanings(ending(*nodes)) == (meaning,)


def test_old_graphs_take_the_softmax_over_what_follows_the_batch() -> None:
    assert outputs.meanings(ending(("Softmax", {}), opset=11)) == ("probabilities",)


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_it_still_stands_there_in_int8(tmp_path: Path, method: quantize.Method) -> None:
    torch.manual_seed(0)
    model, example = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), (torch.randn(16, 8),)
    path, batch = architectures.export(model, example, tmp_path / "fp32.onnx")
    quantize.quantize(path, tmp_path / "int8.onnx", [batch], method=method)
    assert outputs.meanings(onnx.load(tmp_path / "int8.onnx")) == ("probabilities",)
