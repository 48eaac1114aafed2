from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimization.graphs import pools
from optimization.pruning import prune
from optimization.quantization import quantize
from tests.optimization import architectures


def mean(axes: list[int], keepdims: int, rank: int) -> onnx.ModelProto:
    """A graph of a square and a mean."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("ReduceMean", ["square", "axes"], ["y"], name="mean", keepdims=keepdims),
    ]
    names = ["batch", 3, 5, 4][:rank]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, names)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(axes, np.int64), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize(
    ("axes", "rank", "is_pool"),
    [
        ([2, 3], 4, True),
        ([-1, -2], 4, True),
        ([2], 3, True),
        ([3], 4, False),
        ([1], 4, False),
        ([1, 2, 3], 4, False),
        ([1], 2, False),
    ],
)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_means_of_whole_pictures_are_pools_that_compute_the_same(
    random: np.random.Generator, axes: list[int], rank: int, is_pool: bool, keepdims: int
) -> None:
    model = mean(axes, keepdims, rank)
    x = random.normal(size=(2, 3, 5, 4)[:rank]).astype(np.float32)
    pools.pool(model)
    assert [node.op_type == "GlobalAveragePool" for node in model.graph.node].count(True) == is_pool
    onnx.checker.check_model(model)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, (x**2).mean(axis=tuple(axes), keepdims=bool(keepdims)), atol=1e-6)


def test_nothing_of_a_resnet_leaves_eight_bits_between_its_ends(tmp_path: Path) -> None:
    model, example = architectures.build("resnet")
    path, batch = architectures.export(prune.prepare(model, example), example, tmp_path / "m.onnx")
    quantize.quantize(path, tmp_path / "int8.onnx", [batch])
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 3
    onnxruntime.InferenceSession(tmp_path / "int8.onnx", options)
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    first, last = operators.index("QuantizeLinear"), operators.index("QGemm")
    between = set(operators[first : last + 1])
    assert {"QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool"} <= between
    assert not between & {"Conv", "Add", "Relu", "ReduceMean", "DequantizeLinear"}
