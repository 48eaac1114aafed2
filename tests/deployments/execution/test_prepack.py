"""Weights that sessions share: the same answers, one copy, made once."""

import multiprocessing
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deployments.execution import prepack
from deployments.execution.session import Session
from optimization.artifact.store import publish
from optimization.running.adopt import adopt

WIDTH = 512
NUM_LAYERS = 16


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Sixteen square layers of 1 MiB each."""
    root = tmp_path_factory.mktemp("wide")
    random = np.random.default_rng(0)
    weights = [(random.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32) for _ in range(NUM_LAYERS)]
    names = ["x", *(f"h{layer}" for layer in range(1, NUM_LAYERS)), "y"]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(NUM_LAYERS)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in ("x", "y")]
    initializers = [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)]
    graph = helper.make_graph(nodes, "wide", ends[:1], ends[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, root / "wide.onnx")
    return adopt(root / "wide.onnx", root / "artifacts", "wide"), weights


def packed(artifact, cache):
    return prepack.packed(artifact, artifact.manifest.graphs[0], cache)


def test_packed_weights_answer_as_numpy_does(wide, tmp_path):
    artifact, weights = wide
    x = np.random.default_rng(1).standard_normal((3, WIDTH)).astype(np.float32)
    expected = np.linalg.multi_dot([x, *weights])
    for cache in (None, tmp_path):
        y = Session(artifact, num_threads=1, max_batch_size=4, cache=cache).run({"x": x})["y"]
        np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3)


def test_it_is_packed_once(wide, tmp_path):
    artifact, _ = wide
    first = packed(artifact, tmp_path)
    made = first.stat().st_mtime_ns
    assert packed(artifact, tmp_path) == first
    assert first.stat().st_mtime_ns == made
    assert onnxruntime.__version__ in first.parent.name


def test_a_small_model_is_not_packed(tiny_artifact, tmp_path):
    assert packed(tiny_artifact, tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_costs_memory_but_no_answer(wide, tmp_path, caplog):
    (tmp_path / "taken").write_text("")
    assert packed(wide[0], tmp_path / "taken") is None
    assert "no packed copy of its weights" in caplog.text


def test_a_cut_file_is_packed_anew_and_not_mapped(wide, tmp_path, caplog):
    """To read past the end of a mapped file would kill the process."""
    artifact, weights = wide
    weights_file = packed(artifact, tmp_path).parent / "weights"
    whole = weights_file.stat().st_size
    with weights_file.open("r+b") as file:
        file.truncate(whole // 2)
    x = np.ones((1, WIDTH), np.float32)
    y = Session(artifact, num_threads=1, max_batch_size=1, cache=tmp_path).run({"x": x})["y"]
    np.testing.assert_allclose(y, np.linalg.multi_dot([x, *weights]), rtol=1e-3, atol=1e-3)
    assert weights_file.stat().st_size == whole
    assert "is damaged and packed anew" in caplog.text


def test_a_cache_on_a_network_file_system_is_not_mapped_but_packed_on_local_storage(wide, tmp_path, monkeypatch):
    shared, local = tmp_path / "shared", tmp_path / "local"
    local.mkdir()
    monkeypatch.setattr(prepack, "is_local", lambda path: path != shared)
    monkeypatch.setattr(prepack, "local_folder", lambda _: local)
    assert packed(wide[0], shared).is_relative_to(local)
    assert not shared.exists()
    monkeypatch.setattr(prepack, "local_folder", lambda _: None)
    assert packed(wide[0], shared) is None


def test_the_oldest_leave_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(prepack, "KEPT", 2)
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        prepack.os.utime(tmp_path / str(number), (number, number))
    prepack._forget_oldest(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_a_further_process_hardly_adds_to_the_weights(wide, tiny_artifact, tmp_path):
    artifact, weights = wide
    packed(artifact, tmp_path)
    size = sum(weight.nbytes for weight in weights)
    assert _adds(artifact, tmp_path, tiny_artifact) < 0.2 * size  # the allocator keeps a little of what loading took
    assert _adds(artifact, None, tiny_artifact) > 0.9 * size


def _adds(artifact, cache, tiny):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_private_bytes, (artifact, cache, tiny))


def _private_bytes(artifact, cache, tiny):
    """Memory of the process's own that a session takes, beyond what any session needs."""
    sessions = [Session(tiny, num_threads=1, max_batch_size=1)]
    before = _private()
    sessions.append(Session(artifact, num_threads=1, max_batch_size=1, cache=cache))
    return _private() - before


def _private():
    text = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * int(re.search(r"^Anonymous:\s+(\d+)", text, re.MULTILINE)[1])


def test_a_model_that_cannot_be_packed_is_named_in_the_log(tmp_path, caplog):
    (tmp_path / "model.onnx").write_bytes(bytes(prepack.WORTH_BYTES))
    specs = [{"name": name, "datatype": "FP32", "shape": ["batch"]} for name in ("x", "y")]
    files = {"model.onnx": tmp_path / "model.onnx"}
    artifact = publish(tmp_path / "artifacts", files, name="broken", inputs=specs[:1], outputs=specs[1:])
    assert packed(artifact, tmp_path / "cache") is None
    assert "model broken: its weights cannot be packed" in caplog.text
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
