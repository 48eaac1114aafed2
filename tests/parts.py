"""An artifact of two graphs: `h = 2x`, then `y = h + x`."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from optimization.artifact.manifest import Part, TensorSpec
from optimization.artifact.store import Artifact, publish

WIDTH = 4


def publish_two_parts(root: Path) -> Artifact:
    """Published as `two`; the second part needs the model's own input besides, and keeps its weights beside it."""
    root.mkdir(parents=True, exist_ok=True)
    two = numpy_helper.from_array(np.full(WIDTH, 2, np.float32), "two")
    nothing = numpy_helper.from_array(np.zeros((WIDTH, 64), np.float32), "nothing")
    _save(root / "first.onnx", [("Mul", "x", "two", "h")], "x", outputs="h", weights=[two])
    second = [("Add", "h", "x", "sum"), ("MatMul", "sum", "nothing", "zeros"), ("ReduceSum", "zeros", "", "zero")]
    _save(root / "second.onnx", [*second, ("Add", "sum", "zero", "y")], "h", "x", outputs="y", weights=[nothing])
    beside = onnx.load(root / "second.onnx")
    onnx.save(beside, root / "second.onnx", save_as_external_data=True, location="second.weights", size_threshold=64)
    x, h, y = (TensorSpec(name=name, datatype="FP32", shape=("batch", WIDTH)) for name in "xhy")
    return publish(
        root / "artifacts",
        {name: root / name for name in ("first.onnx", "second.onnx", "second.weights")},
        name="two",
        inputs=(x,),
        outputs=(y,),
        labels=("a", "b", "c", "d"),
        parts=(
            Part(file="first.onnx", inputs=(x,), outputs=(h,)),
            Part(file="second.onnx", weights=("second.weights",), inputs=(h, x), outputs=(y,)),
        ),
    )


def _save(
    path: Path, nodes: list[tuple[str, str, str, str]], *inputs: str, outputs: str, weights: list[TensorProto]
) -> None:
    made = [
        helper.make_node(kind, [each for each in (first, second) if each], [out]) for kind, first, second, out in nodes
    ]
    tensors = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in side]
        for side in (inputs, (outputs,))
    ]
    graph = helper.make_graph(made, path.stem, *tensors, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
