from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimization.graphs import residuals
from tests.optimization import architectures

TRANSFORMERS = ["encoder", "bert", "distilbert"]


def written(model: onnx.ModelProto, batch: dict[str, np.ndarray]) -> np.ndarray:
    """What the graph computes as it is written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, batch)[0]


def optimised(model: onnx.ModelProto, path: Path) -> Counter[str]:
    """The operators that ONNX Runtime makes of the graph."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(path), 3
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_differences_compute_the_same_to_the_last_bit_and_are_not_fused(tmp_path: Path, family: str) -> None:
    if family in architectures.HUGGING_FACE:
        pytest.importorskip("transformers")
    path, batch = architectures.export(*architectures.build(family), tmp_path / "m.onnx")
    model = onnx.load(path)
    expected = written(model, batch)
    assert optimised(model, tmp_path / "optimised.onnx")["SkipLayerNormalization"], "the claim is about something"
    residuals.subtract(model)
    np.testing.assert_array_equal(written(model, batch), expected)
    assert optimised(model, tmp_path / "optimised.onnx")["SkipLayerNormalization"] == 0


def test_weight_that_others_read_keeps_its_sign_for_them() -> None:
    random = np.random.default_rng(0)
    weights = {"w": random.normal(size=(4, 4)), "b": random.normal(size=4), "g": np.ones(4), "z": np.zeros(4)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["one"]),
        helper.make_node("Add", ["one", "b"], ["two"]),
        helper.make_node("Add", ["two", "x"], ["total"]),
        helper.make_node("LayerNormalization", ["total", "g", "z"], ["normal"]),
        helper.make_node("MatMul", ["normal", "w"], ["last"]),
        helper.make_node("Add", ["last", "b"], ["y"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "shared",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
            [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    batch = {"x": random.normal(size=(3, 4)).astype(np.float32)}
    expected = written(model, batch)
    residuals.subtract(model)
    np.testing.assert_array_equal(written(model, batch), expected)
    assert [node.op_type for node in model.graph.node].count("Sub") == 1
