"""What came ready is tried as it will be served, too, on made-up input."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from optimization.artifact import store
from optimization.errors import GraphError, VerifyError
from optimization.running import verify
from optimization.running.adopt import adopt
from tests.conftest import publish_tiny, save_tiny_model


def save(path: Path, kind: int, nodes: Sequence[onnx.NodeProto], outputs: Sequence[str | int] = ("batch", 4)) -> Path:
    """A model of x, of shape [batch, 4], and y."""
    shapes: dict[str, Sequence[str | int]] = {"x": ("batch", 4), "y": outputs}
    ends = [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(list(nodes), "toy", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_a_file_that_is_damaged_as_it_is_copied_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfile

    def damaged(source: Path, target: Path) -> None:
        copy(source, target)
        content = bytearray(target.read_bytes())
        content[content.index(b"weights") - 20] ^= 1
        target.write_bytes(content)

    monkeypatch.setattr(store.shutil, "copyfile", damaged)
    with pytest.raises(
        VerifyError, match=r"mine 1 is not published, since the check of files failed: model\.onnx must"
    ):
        adopt(save_tiny_model(tmp_path / "tiny.onnx"), tmp_path, "mine")
    assert store.versions(tmp_path, "mine") == []


def test_what_gives_something_else_in_a_fresh_process_is_refused(tmp_path: Path) -> None:
    artifact = publish_tiny(tmp_path)
    asked = {"features": np.ones((2, 4), np.float32)}
    digest = artifact.manifest.files[store.MODEL].sha256
    with pytest.raises(VerifyError, match="the check of outputs by CPUExecutionProvider failed"):
        verify.verify_again(artifact, digest, [asked], [np.full((2, 3), 1 / 3, np.float32)])


@pytest.mark.parametrize(
    ("kind", "nodes"),
    [
        (TensorProto.STRING, [helper.make_node("Identity", ["x"], ["y"])]),
        (TensorProto.FLOAT, [helper.make_node("RandomUniformLike", ["x"], ["y"])]),
        (TensorProto.FLOAT, [helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Log", ["n"], ["y"])]),
    ],
    ids=["texts", "drawn at random", "no numbers"],
)
def test_whatever_can_be_served_is_published(tmp_path: Path, kind: int, nodes: list[Any]) -> None:
    assert adopt(save(tmp_path / "m.onnx", kind, nodes), tmp_path, "mine").manifest.version == "1"


def test_what_serving_could_not_warm_up_is_refused(tmp_path: Path) -> None:
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[7, -1])
    nodes = [shape, helper.make_node("Reshape", ["x", "shape"], ["y"])]
    with pytest.raises(GraphError, match=r"must answer one row of made-up input, .*, got for x \[1, 4\]"):
        adopt(save(tmp_path / "m.onnx", TensorProto.FLOAT, nodes, ("rows", "columns")), tmp_path, "mine")
