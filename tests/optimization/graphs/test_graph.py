from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimization.artifact.manifest import TensorSpec
from optimization.errors import GraphError
from optimization.graphs import graph


def toy(
    weight: np.ndarray | None = None, batch: str | int | None = "batch", kind: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    """y = x @ w, all of it 4 wide."""
    weight = np.eye(4, dtype=np.float32) if weight is None else weight
    graph_proto = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "toy",
        [helper.make_tensor_value_info("x", kind, [batch, 4])],
        [helper.make_tensor_value_info("y", kind, [batch, weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph_proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def save(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, path)
    return path


def test_names_types_and_shapes_are_read(tmp_path: Path) -> None:
    model = graph.read(save(tmp_path / "m.onnx", toy(batch="rows")))
    assert graph.inputs(model) == (TensorSpec(name="x", datatype="FP32", shape=("rows", 4)),)
    assert graph.outputs(model) == (TensorSpec(name="y", datatype="FP32", shape=("rows", 4)),)


def test_unnamed_dynamic_dimension_is_given_a_name(tmp_path: Path) -> None:
    model = toy(batch=None)
    model.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    (spec,) = graph.inputs(graph.read(save(tmp_path / "m.onnx", model)))
    assert spec.shape == ("batch", "x_1")


def test_weight_listed_as_an_input_is_no_input(tmp_path: Path) -> None:
    model = toy()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]))
    assert [spec.name for spec in graph.inputs(model)] == ["x"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = save(tmp_path / "m.onnx", toy(np.ones((4, 1000), np.float32)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(GraphError, match=r"m\.onnx"):
        graph.read(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, I am no model")
    for path in (tmp_path / "text", tmp_path / "none", tmp_path):
        with pytest.raises(GraphError, match=str(path)):
            graph.read(path)


def test_external_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(toy(np.ones((4, 1000), np.float32)), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(GraphError, match=r"must hold its weights itself, got weights in w\.bin"):
        graph.read(path)


def test_unknown_operator_is_refused(tmp_path: Path) -> None:
    model = toy()
    model.graph.node[0].op_type = "Frobnicate"
    with pytest.raises(GraphError, match=r"ONNX Runtime cannot run"):
        graph.read(save(tmp_path / "m.onnx", model))


def test_type_the_protocol_lacks_is_refused() -> None:
    with pytest.raises(GraphError, match=r"'x' must be a tensor of BOOL, .* got COMPLEX64"):
        graph.inputs(toy(kind=TensorProto.COMPLEX64))


def test_scalar_is_refused() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [])
    with pytest.raises(GraphError, match=r"'x' must have a batch dimension, got a scalar"):
        graph.specs([value])


def test_sparsity_counts_the_zeros_of_weights() -> None:
    weight = np.ones((4, 5), np.float32)
    weight[0] = 0
    model = toy(weight)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(100, np.float32), "bias"))
    assert graph.sparsity(model) == pytest.approx(0.25)
