"""TensorFlow SavedModels against TensorFlow itself, which half a gigabyte brings into an environment beside ours."""

import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import numpy as np
import pytest

from optimization.artifact import store
from optimization.foreign import convert
from optimization.graphs import graph
from tests.optimization.foreign.tensorflow_models import LENGTHS

ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter with our packages and those of the extra `tensorflow`; it is made once, in the user's cache."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["tensorflow"]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab"
    home = cache / "-".join(["tensorflow", *extra]).replace("=", "")
    python, done = home / "bin" / "python", home / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(home)], check=True)
        (packages,) = home.glob("lib/python*/site-packages")
        (packages / "ours.pth").write_text(sysconfig.get_path("purelib"))
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--constraint"]
        subprocess.run([*pip, str(ROOT / "constraints.txt"), *extra], check=True)
        done.touch()
    return str(python)


@pytest.fixture(scope="module")
def folder(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorflow")
    command = [python, "-m", "tests.optimization.foreign.tensorflow_models", str(folder)]
    subprocess.run(command, cwd=ROOT, env=convert.environment(), check=True, capture_output=True)
    return folder


def publish(python: str, model: Path, root: Path) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "optimization", "publish", str(model), "--name", "foreign", "--artifacts", str(root)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_saved_model_answers_as_in_tensorflow(python: str, folder: Path, tmp_path: Path) -> None:
    done = publish(python, folder / "recurrent", tmp_path)
    assert done.returncode == 0, done.stderr
    made = store.load(store.find(tmp_path, "foreign"))
    assert [(each.name, each.shape[0], each.shape[2]) for each in made.manifest.inputs] == [("steps", "batch", 4)]
    assert [each.name for each in made.manifest.outputs] == ["probabilities"]
    for length in LENGTHS:
        expected = np.load(folder / f"{length}.npz")
        answers = graph.predict(graph.session(made.model_path), {"steps": expected["steps"]})
        np.testing.assert_allclose(answers, expected["answers"], atol=1e-4)


def test_operator_that_onnx_lacks_is_named(python: str, folder: Path, tmp_path: Path) -> None:
    done = publish(python, folder / "words", tmp_path)
    assert done.returncode == 2
    assert "words cannot become an ONNX file" in done.stderr
    assert "StringToHashBucketFast" in done.stderr


def test_without_tensorflow_the_extra_is_named(folder: Path, tmp_path: Path) -> None:
    done = publish(sys.executable, folder / "recurrent", tmp_path)
    assert done.returncode == 2
    assert "pip install -e '.[tensorflow]'" in done.stderr
