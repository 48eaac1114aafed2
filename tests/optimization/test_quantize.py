from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from optimization import evaluate, export, models, quantize
from optimization.data import Dataset
from optimization.recipe import Mlp


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> tuple[Path, Path]:
    """A model in fp32 and in INT8."""
    folder = tmp_path_factory.mktemp("models")
    model = models.build(Mlp(kind="mlp", hidden=(256, 128)), digits, seed=0)
    export.export(model, folder / "fp32.onnx", num_features=64, num_outputs=10, input_name="pixels")
    quantize.quantize(folder / "fp32.onnx", folder / "int8.onnx", digits.train.inputs[:128], "pixels")
    return folder / "fp32.onnx", folder / "int8.onnx"


def test_int8_is_close_to_fp32(pair: tuple[Path, Path], digits: Dataset) -> None:
    fp32, int8 = (evaluate.predict(path, digits.held_out.inputs) for path in pair)
    np.testing.assert_allclose(int8, fp32, atol=0.02)
    assert not np.array_equal(int8, fp32)


def test_weights_are_signed_and_activations_unsigned(pair: tuple[Path, Path]) -> None:
    model = onnx.load(pair[1])
    constants = {each.name: each for each in model.graph.initializer}
    weights = [each for each in constants.values() if len(each.dims) == 2]
    assert weights
    assert {each.data_type for each in weights} == {TensorProto.INT8}
    activations = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert activations
    assert {constants[node.input[2]].data_type for node in activations} == {TensorProto.UINT8}


def test_each_channel_has_its_own_scale(pair: tuple[Path, Path]) -> None:
    sizes = {each.dims[0] for each in onnx.load(pair[1]).graph.initializer if each.name.endswith("weight_scale")}
    assert {256, 128, 10} <= sizes


def test_file_shrinks_to_a_third_at_most(pair: tuple[Path, Path]) -> None:
    fp32, int8 = (path.stat().st_size for path in pair)
    assert int8 < fp32 / 3


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "flags : sse avx2 avx512_vnni", True),
        ("x86_64", "flags : sse avx2 avx_vnni", True),
        ("AMD64", "flags : sse avx2 avx512f", False),
        ("aarch64", "", True),
    ],
)
def test_vnni_is_read_from_the_cpus_flags(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: str, expected: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", lambda self: flags)
    assert quantize.has_vnni() is expected
