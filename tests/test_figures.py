"""Benchmarks: what they are set to do, without running them."""

from pathlib import Path

import pytest
import yaml

from benchmarks import optimization as benchmark
from benchmarks import reliability
from benchmarks.figures import fashion
from benchmarks.figures.setting import RECIPES, Setting, load
from benchmarks.measurements import verdict
from optimization.recipe import recipe


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(data=Path("/data"), fashion=tmp_path, minilm="minilm", results=tmp_path, quick=True)


def test_every_figure_is_measured_by_one_family() -> None:
    keys = [key for family in benchmark.FAMILIES for key in family]
    assert sorted(keys) == sorted([*benchmark.AT_LEAST, *benchmark.AT_MOST])


@pytest.mark.parametrize("path", sorted(Path(fashion.__file__).parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_of_figures_are_valid(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    raw = yaml.safe_load(path.read_text())
    for name in ("train", "held_out"):
        Path(raw["data"][name]).touch()
    assert recipe.parse(raw).name == raw["name"]


def test_quick_trains_one_epoch_and_data_lie_in_their_folder(setting: Setting) -> None:
    raw = load(RECIPES / "cifar10.yaml", {"steps.0.stages": 1, "data.share": 0.02}, setting)
    assert raw["steps"][0]["recovery"]["epochs"] == raw["steps"][0]["stages"] == 1
    assert (raw["data"]["train"], raw["data"]["share"]) == ("/data/cifar10/train20k.npz", 0.02)
    assert raw["teacher"]["model"]["weights"].startswith("/data/models/")


def test_every_bound_of_reliability_is_of_a_figure_that_is_measured() -> None:
    measured = [key for each in (*reliability.MEASUREMENTS, *reliability.ON_HOSTS) for key in each.keys]
    assert len(measured) == len(set(measured))
    assert {*reliability.AT_LEAST, *reliability.AT_MOST} <= set(measured)


def test_a_figure_is_told_with_its_bound() -> None:
    bounds = {"at_least": {"rate": 2.0}, "at_most": {"failed": 0.0}}
    said = [verdict(key, value, **bounds) for key, value in (("rate", 1), ("failed", 0), ("other", 3))]
    assert said == ["✗ at least 2.0", "✓ at most 0.0", ""]
