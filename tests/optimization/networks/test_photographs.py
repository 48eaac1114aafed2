"""EfficientNet-lite0 on scikit-learn's two photographs, cut to pieces."""

from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from optimization.networks import photographs

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
