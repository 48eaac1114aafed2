"""An artifact is data: nothing in it can run code, read beyond its folder, or be unpickled."""

import json
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from deployments.execution.session import Session
from optimization.artifact.raw.inputs import preparation
from optimization.artifact.store import ArtifactError, load, publish

TENSOR = {"datatype": "FP32", "shape": ["batch", 4]}
SPECS = {"inputs": [{"name": "x", **TENSOR}], "outputs": [{"name": "y", **TENSOR}]}


def graph(path, node, *initializers):
    """One node from x to y."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy")
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("evil", 1)]
    made = helper.make_model(
        helper.make_graph([node], "g", [x], [y], initializers), opset_imports=opsets, ir_version=10
    )
    path.write_bytes(made.SerializeToString())
    return path


def artifact(root, model, **files):
    return publish(root, {"model.onnx": model, **files}, name="evil", **SPECS)


def opened(made):
    return Session(load(made.path), num_threads=1, max_batch_size=4)


@pytest.mark.parametrize(
    ("domain", "kind"), [("evil", "System"), ("ai.onnx.contrib", "PyOp"), ("com.microsoft", "PyOp")]
)
def test_an_operator_of_its_own_is_refused_when_it_is_loaded(domain, kind, tmp_path):
    """ONNX Runtime is given no library of operators, so one that is none of its own cannot be run."""
    model = graph(tmp_path / "m.onnx", helper.make_node(kind, ["x"], ["y"], domain=domain, command="touch ran"))
    with pytest.raises(Exception, match=r"not a registered|Unrecognized|No opset import|not find|not registered"):
        opened(artifact(tmp_path / "a", model))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "location", ["../outside.bin", "ABSOLUTE", "link.bin", "sub/../../outside.bin", "/proc/self/environ"]
)
def test_weights_outside_of_the_folder_are_never_read(location, tmp_path):
    root = tmp_path / "a"
    np.arange(4, dtype=np.float32).tofile(tmp_path / "outside.bin")
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    place = str(tmp_path / "outside.bin") if location == "ABSOLUTE" else location
    for key, value in (("location", place), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    made = artifact(root, graph(tmp_path / "m.onnx", helper.make_node("Add", ["x", "w"], ["y"]), weights))
    (made.path.parent / "outside.bin").write_bytes((tmp_path / "outside.bin").read_bytes())
    (made.path / "link.bin").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(Exception, match="External data path"):
        opened(made)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../../outside", "a\\..\\b", "nul\0", "", "link/passwd"]
)
def test_a_file_outside_of_the_folder_is_never_opened(name, tmp_path):
    made = artifact(tmp_path, graph(tmp_path / "m.onnx", helper.make_node("Neg", ["x"], ["y"])))
    (made.path / "link").symlink_to("/etc")
    manifest = json.loads((made.path / "manifest.json").read_text())
    manifest["files"][name] = {"size_bytes": Path("/etc/passwd").stat().st_size, "sha256": "0" * 64}
    (made.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"must lie inside|outside"):
        load(made.path)


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_pickle_in_any_place_is_refused_and_not_run(tmp_path):
    ran = tmp_path / "ran"
    bomb = tmp_path / "bomb"
    bomb.write_bytes(pickle.dumps(Bomb(ran)))
    with pytest.raises(Exception, match=r"[Pp]rotobuf|INVALID_PROTOBUF"):
        opened(artifact(tmp_path / "as-model", bomb))
    model = graph(tmp_path / "m.onnx", helper.make_node("Neg", ["x"], ["y"]))
    made = publish(
        tmp_path / "as-tokenizer",
        {"model.onnx": model, "tokenizer.json": bomb},
        name="evil",
        **SPECS,
        preprocessing={"kind": "text", "max_length": 8},
    )
    with pytest.raises(ArtifactError):
        preparation(load(made.path).manifest, made.path, num_threads=1)
    (made.path / "manifest.json").write_bytes(bomb.read_bytes())
    with pytest.raises(ArtifactError, match="no JSON"):
        load(made.path)
    assert not ran.exists()


def test_the_code_that_reads_artifacts_knows_no_pickle():
    """numpy's is turned off wherever it is called; torch's is not there at all."""
    found = subprocess.run(
        [
            "grep",
            "-rnE",
            r"pickle\.load|torch\.load|joblib|allow_pickle=True|np\.load\([^)]*\)$",
            "optimization/artifact",
            "deployments",
        ],
        capture_output=True,
        text=True,
    ).stdout
    loose = [line for line in found.splitlines() if "allow_pickle=False" not in line]
    assert loose == []
