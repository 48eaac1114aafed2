from pathlib import Path

import pytest

from optimization.identity import code, named
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe


def wanted(**data: object) -> Recipe:
    return recipe.parse(
        {
            "name": "toy",
            "data": {"kind": "table", "train": "train.csv", "held_out": "held.csv", "label": "y"} | data,
            "teacher": {"model": {"kind": "torch", "name": "models.nets:build"}},
            "steps": [{"kind": "quantize"}],
        }
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with data and code of the user's own."""
    (tmp_path / "models").mkdir()
    (tmp_path / "train.csv").write_text("x,y\n1,a\n")
    (tmp_path / "held.csv").write_text("x,y\n2,b\n")
    (tmp_path / "models" / "__init__.py").write_text("")
    (tmp_path / "models" / "nets.py").write_text("def build():\n    import layers\n    return layers.Net()\n")
    (tmp_path / "layers.py").write_text("class Net: ...\n")
    (tmp_path / "unrelated.py").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("train.csv", ["data.train"]),
        ("held.csv", ["data.held_out"]),
        ("models/nets.py", ["teacher.model.name"]),
        ("layers.py", ["teacher.model.name"]),
        ("unrelated.py", []),
    ],
)
def test_a_recipe_changes_with_the_files_and_the_code_it_names(folder: Path, file: str, setting: list[str]) -> None:
    before = named.digests(wanted())
    (folder / file).write_text("# another\n" + (folder / file).read_text())
    after = named.digests(wanted())
    assert named.changed(before, after) == setting


def test_data_that_a_package_carries_are_known_by_its_version() -> None:
    digits = recipe.load(Path(__file__).parents[3] / "optimization" / "recipes" / "digits.yaml")
    assert named.digests(digits) == {"data.kind": f"scikit-learn {code.release('scikit-learn')}"}


def test_an_installed_package_is_known_by_its_version() -> None:
    assert code.named("torch.nn:Linear") == f"torch {code.release('torch')}"
    assert code.named("no_such_module:build") == ""


def test_a_sign_of_the_data_is_no_path() -> None:
    assert set(named.digests(wanted(label="."))) == {"data.train", "data.held_out", "teacher.model.name"}
