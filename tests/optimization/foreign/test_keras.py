"""Keras 3 files against Keras itself."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from optimization.errors import GraphError
from optimization.foreign import convert
from optimization.graphs import graph
from optimization.running.adopt import adopt
from tests.optimization.foreign.keras_models import SAMPLES

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Models that Keras saved, and what it says to some samples: `<name>.keras`, `<name>.npy`."""
    folder = tmp_path_factory.mktemp("keras")
    command = [sys.executable, "-m", "tests.optimization.foreign.keras_models", str(folder)]
    subprocess.run(command, env=convert.environment(), check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attention", pytest.param("network", marks=pytest.mark.long)])
def test_keras_file_answers_as_in_keras(folder: Path, tmp_path: Path, name: str) -> None:
    path, parity = convert.onnx_file(folder / f"{name}.keras", tmp_path, names=("pixels",))
    answers = graph.predict(graph.session(path), {"pixels": SAMPLES[name]})
    np.testing.assert_allclose(answers, np.load(folder / f"{name}.npy"), atol=1e-4)
    assert parity is not None
    assert parity <= 1e-4


@pytest.mark.slow
@pytest.mark.long
def test_keras_file_is_published_with_its_own_names(folder: Path, tmp_path: Path) -> None:
    """Also a model of two inputs, which keep their names."""
    manifest = adopt(folder / "two.keras", tmp_path, "two").manifest
    assert [(each.name, each.shape) for each in manifest.inputs] == [("left", ("batch", 3)), ("right", ("batch", 2))]
    assert manifest.parity is not None


@pytest.mark.slow
@pytest.mark.long
def test_what_torch_cannot_export_says_so_and_what_to_do(folder: Path, tmp_path: Path) -> None:
    """A recurrent layer over texts of any length is unrolled: only TensorFlow knows loops."""
    with pytest.raises(GraphError, match=r"recurrent\.keras cannot become an ONNX file: .*static shape.*SavedModel"):
        convert.onnx_file(folder / "recurrent.keras", tmp_path)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("none.keras", r"none\.keras must be a file that Keras 3 saved, got none"),
        pytest.param(
            "damaged.keras",
            r"damaged\.keras cannot become an ONNX file: .*zip",
            marks=[pytest.mark.slow, pytest.mark.long],
        ),
        ("empty", r"empty must be an ONNX file, or the folder of a SavedModel, got one without saved_model\.pb"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "damaged.keras").write_bytes(b"PK no zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(GraphError, match=problem):
        convert.onnx_file(tmp_path / name, tmp_path)


def test_onnx_file_is_left_as_it_is(tmp_path: Path) -> None:
    assert convert.onnx_file(tmp_path / "model.onnx", tmp_path) == (tmp_path / "model.onnx", None)
