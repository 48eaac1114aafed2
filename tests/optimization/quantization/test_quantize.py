import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from optimization.graphs import export
from optimization.measuring import evaluate
from optimization.networks import models
from optimization.quantization import quantize, sensitivity
from optimization.readers.examples import Dataset
from optimization.recipe.architectures import Mlp
from tests.optimization import architectures
from tests.optimization.architectures import HUGGING_FACE

Exported = Callable[[str], tuple[Path, list[quantize.Batch]]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model of a family, and two batches of different shapes."""

    @functools.cache
    def export(family: str) -> tuple[Path, list[quantize.Batch]]:
        if family in HUGGING_FACE:
            pytest.importorskip("transformers")
        model, example = architectures.build(family)
        path, batch = architectures.export(model, example, tmp_path_factory.mktemp("family") / "fp32.onnx")
        shorter = {name: values[:3, :7] if "ids" in batch else values[:3] for name, values in batch.items()}
        return path, [batch, shorter]

    return export


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> tuple[Path, Path]:
    """A model in fp32 and in INT8."""
    folder = tmp_path_factory.mktemp("models")
    model = models.build(Mlp(kind="mlp", hidden=(256, 128)), digits, seed=0)
    export.export(model, folder / "fp32.onnx", digits.train, task=digits.task)
    quantize.quantize(folder / "fp32.onnx", folder / "int8.onnx", [digits.train.batch(np.arange(128))])
    return folder / "fp32.onnx", folder / "int8.onnx"


def test_int8_is_close_to_fp32(pair: tuple[Path, Path], digits: Dataset) -> None:
    fp32, int8 = (evaluate.predict(path, digits.held_out, digits.task, "probabilities") for path in pair)
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


@pytest.mark.parametrize("family", ["mlp", "resnet", "mobile", "encoder", "bert"])
def test_every_family_keeps_its_answers_in_static_int8(exported: Exported, tmp_path: Path, family: str) -> None:
    path, batches = exported(family)
    for ranges in ("minmax", "percentile", "entropy"):
        quantize.quantize(path, tmp_path / "int8.onnx", batches, ranges=ranges)
        assert differs(path, tmp_path / "int8.onnx", batches) < 0.02, ranges


@pytest.mark.parametrize("family", ["mlp", "encoder", "bert"])
def test_transformers_keep_their_answers_in_dynamic_int8(exported: Exported, tmp_path: Path, family: str) -> None:
    path, batches = exported(family)
    quantize.quantize(path, tmp_path / "int8.onnx", [], method="dynamic")
    assert differs(path, tmp_path / "int8.onnx", batches) < 0.02
    operators = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert "MatMulInteger" in operators


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_embeddings_are_stored_in_eight_bits(exported: Exported, tmp_path: Path, method: quantize.Method) -> None:
    path, batches = exported("encoder")
    quantize.quantize(path, tmp_path / "int8.onnx", batches, method=method)
    for file, types in ((path, {TensorProto.FLOAT}), (tmp_path / "int8.onnx", {TensorProto.INT8, TensorProto.UINT8})):
        tables = [each for each in onnx.load(file).graph.initializer if list(each.dims) == [50, 32]]
        assert {each.data_type for each in tables} <= types
        assert len(tables) == 1


def test_percentile_leaves_out_what_is_rare(tmp_path: Path) -> None:
    """One value in a hundred thousand spoils the range of all others, unless it is left out."""
    model, example = architectures.build("mlp")
    inputs = np.random.default_rng(0).normal(size=(20_000, 8)).astype(np.float32)
    inputs[0, 0] = 1000
    path, _ = architectures.export(model, example, tmp_path / "fp32.onnx")
    usual = [{"x": inputs[1:500]}]
    lost = {}
    for ranges in ("minmax", "percentile"):
        quantize.quantize(path, tmp_path / "int8.onnx", [{"x": inputs}], ranges=ranges)
        lost[ranges] = differs(path, tmp_path / "int8.onnx", usual)
    assert lost["percentile"] < 0.2 * lost["minmax"]


@pytest.mark.parametrize("family", ["resnet", "encoder"])
def test_fp16_halves_the_file_and_keeps_inputs_and_answers(exported: Exported, tmp_path: Path, family: str) -> None:
    path, batches = exported(family)
    quantize.halve(path, tmp_path / "fp16.onnx")
    assert differs(path, tmp_path / "fp16.onnx", batches) < 1e-3
    fp32, fp16 = (onnx.load(file) for file in (path, tmp_path / "fp16.onnx"))
    assert fp16.graph.input == fp32.graph.input
    assert {each.data_type for each in fp16.graph.initializer if len(each.dims) > 1} <= {TensorProto.FLOAT16}


def differs(one: Path, other: Path, batches: list[quantize.Batch]) -> float:
    """Largest difference of the probabilities."""
    return float(np.abs(sensitivity.predict(one, batches) - sensitivity.predict(other, batches)).max())


@pytest.mark.parametrize("family", ["cnn", "resnet", "encoder"])
def test_defaults_left_out_change_neither_answers_nor_what_is_fused(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    source, batches = exported(family)
    quantize.quantize(source, tmp_path / "short.onnx", batches)
    monkeypatch.setattr(quantize.simplify, "drop_defaults", lambda _path: None)
    quantize.quantize(source, tmp_path / "long.onnx", batches)
    short, long = tmp_path / "short.onnx", tmp_path / "long.onnx"
    assert short.stat().st_size < long.stat().st_size
    np.testing.assert_array_equal(sensitivity.predict(short, batches[:1]), sensitivity.predict(long, batches[:1]))
    assert fused(short) == fused(long)


def fused(path: Path) -> Counter[str]:
    """Operators as ONNX Runtime runs them."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimized"))
    onnxruntime.InferenceSession(path, options)
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
