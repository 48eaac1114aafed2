"""Which models answer row by row, told by real graphs in ONNX Runtime."""

import asyncio

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deployments.execution.load import load_predictor
from deployments.execution.session import Session
from deployments.settings import ModelSettings
from optimization.artifact.store import Artifact, ArtifactError, load, publish
from telemetry.emitting.emitter import Emitter


def published(root, nodes, outputs, *, batch="batch", width=4, **fields) -> Artifact:
    """A model of the float input `x`, of shape [batch, width]; `outputs` are shapes by name."""
    graph = helper.make_graph(
        nodes,
        "m",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    root.mkdir(exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, root / "m.onnx")
    specs = [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in outputs.items()]
    inputs = [{"name": "x", "datatype": "FP32", "shape": [batch, width]}]
    fields = {"inputs": inputs, "outputs": specs, "name": "m", **fields}
    return publish(root / "artifacts", {"model.onnx": root / "m.onnx"}, **fields)


DETECT = [
    helper.make_node("NonZero", ["x"], ["at"]),
    helper.make_node("Transpose", ["at"], ["found"], perm=[1, 0]),
    helper.make_node("Cast", ["found"], ["y"], to=TensorProto.FLOAT),
]
"""As many rows as there are numbers that are not zero."""
MEAN = [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)]
TWICE = [helper.make_node("Add", ["x", "x"], ["y"])]


@pytest.mark.parametrize(
    ("nodes", "shape", "width", "is_batched"),
    [
        (TWICE, ["batch", 4], 4, True),
        (TWICE, ["rows", 4], 4, False),  # a name of its own: nobody says that it is the batch
        (DETECT, ["batch", 2], 1, False),  # one detection for each row of ones, and fewer where there are zeros
        (DETECT, ["detections", 2], 4, False),
        (MEAN, [], 4, False),
    ],
)
def test_what_does_not_answer_row_by_row_is_called_request_by_request(
    tmp_path, caplog, nodes, shape, width, is_batched
):
    session = Session(published(tmp_path, nodes, {"y": shape}, width=width), num_threads=1, max_batch_size=8)
    assert session.is_batched is is_batched
    assert ("answers one request a call" in caplog.text) is not is_batched
    assert is_batched or session.max_batch_size == 1


def test_a_detector_served_as_it_is_gives_each_client_its_own(tmp_path):
    artifact = published(tmp_path, DETECT, {"y": ["batch", 2]})
    emitter = Emitter(service="m", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:1")
    predictor = load_predictor(artifact, ModelSettings(artifact="m"), has_gpu=False, emitter=emitter)
    pictures = [np.array([row], np.float32) for row in ([0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1])]

    async def main():
        predictor.start()
        found = await asyncio.gather(*(predictor.predict({"x": picture}) for picture in pictures))
        await predictor.stop()
        return found

    for picture, outputs in zip(pictures, asyncio.run(main()), strict=True):
        np.testing.assert_array_equal(outputs["y"], np.argwhere(picture))


def part(file, inputs, outputs):
    return {"file": file, "inputs": inputs, "outputs": outputs}


def spec(name, datatype="FP32"):
    return {"name": name, "datatype": datatype, "shape": ["batch", 4]}


def test_an_artifact_may_list_its_one_graph(tmp_path):
    parts = [part("model.onnx", [spec("x")], [spec("y")])]
    artifact = load(published(tmp_path, TWICE, {"y": ["batch", 4]}, parts=parts).path)
    assert artifact.manifest.graphs == artifact.manifest.parts
    assert Session(artifact, num_threads=1, max_batch_size=2).run({"x": np.ones((1, 4), np.float32)})["y"].tolist() == [
        [2.0] * 4
    ]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([part("model.onnx", [spec("q")], [spec("y")])], "'model.onnx' needs 'q', which must be an input of the model"),
        ([part("model.onnx", [spec("x", "INT8")], [spec("y")])], "needs 'x', which must be .* of INT8"),
        ([part("model.onnx", [spec("x")], [spec("h")])], "must give the output 'y'"),
        ([part("other.onnx", [spec("x")], [spec("y")])], "does not list 'other.onnx'"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path, parts, said):
    with pytest.raises(ArtifactError, match=said):
        load(published(tmp_path, TWICE, {"y": ["batch", 4]}, parts=parts).path)
