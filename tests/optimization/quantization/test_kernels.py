"""How weights are held in INT8 is chosen by speed and change together."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from optimization.artifact.findings import Kernel
from optimization.graphs import export, graph
from optimization.networks import models
from optimization.quantization import kernels, quantize
from optimization.readers.examples import Dataset
from optimization.recipe.architectures import Mlp


@pytest.mark.parametrize(
    ("seconds", "changed", "expected"),
    [
        ((1.0, 1.0, 2.0), (0.010, 0.015, 0.010), "signed"),  # VNNI: all are exact
        ((1.0, 1.0, 2.0), (0.500, 0.015, 0.010), "signed_7_bits"),  # AVX2: sums overflow
        ((1.0, 1.0, 0.9), (0.500, 0.015, 0.010), "unsigned"),
        ((1.0, 1.0, 1.04), (0.500, 0.015, 0.010), "unsigned"),  # as fast, and changes less
        ((1.0, 1.0, 1.2), (0.500, 0.100, 0.010), "unsigned"),  # a bit less would change far more
    ],
)
def test_the_fastest_of_those_that_change_little_is_chosen(
    seconds: tuple[float, ...], changed: tuple[float, ...], expected: Kernel
) -> None:
    found = kernels.decide(
        dict(zip(quantize.KERNELS, seconds, strict=True)), dict(zip(quantize.KERNELS, changed, strict=True))
    )
    assert found.kernel == expected
    assert found.processor


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_what_is_chosen_is_written_and_is_near_to_fp32(
    tmp_path: Path, digits: Dataset, method: quantize.Method
) -> None:
    path = tmp_path / "fp32.onnx"
    export.export(models.build(Mlp(kind="mlp", hidden=(64,)), digits, 0), path, digits.train, task=digits.task)
    batches = [digits.validation.batch(np.arange(64))]
    prepared, choice = kernels.choose(quantize.prepare(path, tmp_path, batches, method=method), tmp_path, batches)
    assert set(choice.seconds) == set(choice.changed) == set(quantize.KERNELS)
    assert choice.changed[choice.kernel] <= 2 * min(choice.changed.values())
    quantize.write(prepared, tmp_path / "int8.onnx")
    wanted = TensorProto.UINT8 if choice.kernel == "unsigned" else TensorProto.INT8
    weights = [each for each in onnx.load(tmp_path / "int8.onnx").graph.initializer if len(each.dims) == 2]
    assert {each.data_type for each in weights} == {wanted}
    fp32, int8 = (graph.predict(graph.session(each), batches[0]) for each in (path, tmp_path / "int8.onnx"))
    np.testing.assert_allclose(int8, fp32, atol=0.02)
