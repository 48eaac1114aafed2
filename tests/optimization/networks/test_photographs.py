"""EfficientNet-lite0 on scikit-learn's two photographs, cut to pieces; a recipe that trains nothing needs no Ray."""

import io
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_sample_images

from optimization.networks import photographs
from optimization.recipe import recipe
from optimization.report.phases import Phases
from optimization.running import run
from tests.optimization.conftest import RECIPES

pytest.importorskip("efficientnet_lite_pytorch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("photographs")
    for name, pixels in zip(("china", "flower"), load_sample_images().images, strict=True):
        for left in range(0, 320, 80):
            Image.fromarray(pixels[:, left : left + 320]).save(target / f"{name}{left:03}.png")
    return target


def test_the_network_knows_what_is_on_a_photograph(folder: Path) -> None:
    found = photographs.Photographs(str(folder), "calibration")
    assert [found.classes[found[number][1]] for number in range(len(found))] == ["palace", "palace", "daisy", "daisy"]


@pytest.mark.long
def test_int8_agrees_with_the_published_network(folder: Path, tmp_path: Path) -> None:
    raw = recipe.load(RECIPES / "photographs.yaml").model_dump(mode="json")
    for kwargs in ("kwargs", "held_out_kwargs"):
        raw["data"][kwargs]["folder"] = str(folder)
    raw["steps"][0] |= {"publish": "always", "max_changed": 0.25}
    with Phases(Console(file=io.StringIO())) as phases:
        manifest = run.run(recipe.parse(raw), tmp_path / "artifacts", phases).manifest
    teacher, int8 = manifest.measurements
    assert (teacher.quality.metric, teacher.quality.value) == ("agreement", 1.0)
    assert int8.quality.value >= 0.75
    assert manifest.parity is not None
    assert manifest.parity <= 1e-4
    assert int8.size_bytes < 0.35 * teacher.size_bytes
    assert manifest.preprocessing == photographs.Photographs.preprocessing
    assert manifest.labels is not None
    assert len(manifest.labels) == 1000
