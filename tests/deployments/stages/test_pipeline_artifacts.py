"""What stages have of their artifacts: raw input of the whole, and one version for all parts of one artifact."""

import asyncio
import io

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from deployments.errors import RequestError
from deployments.replicas import versions
from optimization.artifact.manifest import PicturePreprocessing, TensorSpec
from optimization.artifact.store import publish
from tests.deployments.stages.staged import in_a_loop, running
from tests.parts import WIDTH, publish_two_parts

PIXELS = TensorSpec(name="pixels", datatype="FP32", shape=("batch", 1, 2, 2))
SUMS = TensorSpec(name="sums", datatype="FP32", shape=("batch", 1, 2, 2))


def publish_doubling(root, name, **preprocessing):
    """A model of pictures of 2x2 pixels: each pixel twice."""
    ends = [helper.make_tensor_value_info(each, TensorProto.FLOAT, ["batch", 1, 2, 2]) for each in ("pixels", "sums")]
    graph = helper.make_graph([helper.make_node("Add", ["pixels", "pixels"], ["sums"])], name, ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, root / "source.onnx")
    picture = PicturePreprocessing(height=2, width=2, channels=1, **preprocessing)
    publish(
        root, {"model.onnx": root / "source.onnx"}, name=name, inputs=(PIXELS,), outputs=(SUMS,), preprocessing=picture
    )


def picture(value):
    content = io.BytesIO()
    Image.new("L", (2, 2), value).save(content, "PNG")
    return content.getvalue()


def two_models(root):
    sums = {"datatype": "FP32", "shape": ["batch", 1, 2, 2]}
    mean = {
        "name": "mean",
        "call": "deployments.stages.joins:mean",
        "takes": [{"name": name, **sums} for name in "ab"],
        "gives": [{"name": "mean", **sums}],
        "inputs": {"a": "one.sums", "b": "other.sums"},
    }
    stages = [{"name": "one", "artifact": "one"}, {"name": "other", "artifact": "other"}, mean]
    return {"pipeline": "p", "artifacts": str(root), "stages": stages, "outputs": {"sums": "mean.mean"}}


@in_a_loop
async def test_raw_input_is_prepared_once_for_all_models_that_take_it_alike(tmp_path):
    for name in ("one", "other"):
        publish_doubling(tmp_path, name)
    async with running(two_models(tmp_path)) as staged:
        raw = np.array([picture(0), picture(255)], object)
        outputs = await staged.predictor.predict({"image": raw})
        np.testing.assert_allclose(outputs["sums"][:, 0, 0, 0], [0, 2])
        same = await staged.predictor.predict({"pixels": outputs["sums"]})
        np.testing.assert_allclose(same["sums"][:, 0, 0, 0], [0, 4])
        with pytest.raises(RequestError, match="image"):
            await staged.predictor.predict({"image": np.array([b"no picture"], object)})


@in_a_loop
async def test_models_that_are_prepared_in_different_ways_take_tensors_alone(tmp_path):
    publish_doubling(tmp_path, "one")
    publish_doubling(tmp_path, "other", mean=(0.5,))
    async with running(two_models(tmp_path)) as staged:
        assert staged.predictor.manifest.preprocessing is None


@pytest.mark.parametrize("keep", [1, 2])
def test_all_parts_of_an_artifact_answer_a_request_by_one_version_and_none_fails_while_it_changes(
    tmp_path, monkeypatch, keep
):
    monkeypatch.setattr(versions, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(versions, "AGREE_EVERY_S", 0.02)
    publish_two_parts(tmp_path)
    stages = [
        {"name": "first", "artifact": "two", "part": 1, "settings": {"keep_versions": keep}},
        {"name": "then", "artifact": "two", "part": 2, "inputs": {"h": "first.h"}, "settings": {"keep_versions": keep}},
    ]
    args = {"pipeline": "p", "artifacts": str(tmp_path / "artifacts"), "stages": stages, "outputs": {"y": "then.y"}}
    rows = np.ones((2, WIDTH), np.float32)

    @in_a_loop
    async def swap():
        async with running(args) as staged:
            await asyncio.to_thread(publish_two_parts, tmp_path)
            while staged.versions() != {"first": "2", "then": "2"}:
                np.testing.assert_array_equal((await staged.predictor.predict({"x": rows}))["y"], 3 * rows)
            for _ in range(20):
                np.testing.assert_array_equal((await staged.predictor.predict({"x": rows}))["y"], 3 * rows)
            last = [staged.replicas[name][0].asked[-1].version for name in ("first", "then")]
            assert last == ["2", "2"]

    swap()
