import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from optimization.errors import RecipeError
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe

DISTILL = {"kind": "distill", "student": {"kind": "mlp", "hidden": [8]}, "training": {"epochs": 1}}
PRUNE = {"kind": "prune", "ratio": 0.5, "recovery": {"epochs": 1}}
QUANTIZE = {"kind": "quantize"}
RAW: dict[str, Any] = {
    "name": "toy",
    "data": {"kind": "digits"},
    "teacher": {"model": {"kind": "cnn", "channels": [8], "hidden": [16]}, "training": {"epochs": 1}},
    "steps": [DISTILL, PRUNE, QUANTIZE],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """RAW with `value` at `path`, such as "steps.1.ratio"."""
    raw = copy.deepcopy(RAW)
    *parents, last = path.split(".")
    inner: Any = raw
    for part in parents:
        inner = inner[int(part)] if isinstance(inner, list) else inner[part]
    inner[int(last) if isinstance(inner, list) else last] = value
    return raw


@pytest.mark.parametrize("path", sorted(Path("optimization/recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_recipe_is_valid_and_named_like_its_file(path: Path) -> None:
    assert recipe.load(path).name == path.stem


def test_every_setting_says_what_it_means() -> None:
    schema = Recipe.model_json_schema()
    silent = [
        f"{name}.{field}"
        for name, model in [("Recipe", schema), *schema["$defs"].items()]
        for field, described in model["properties"].items()
        if not described.get("description")
    ]
    assert silent == []


BROKEN = [
    ("steps.1.ratio", 1.5, "prune.ratio must lie in (0, 1), got 1.5"),
    ("steps.1.ratio", float("nan"), "prune.ratio must lie in (0, 1), got nan"),
    ("steps.1.ratio", "half", "prune.ratio must lie in (0, 1), got 'half'"),
    ("steps.0.alpha", -0.1, "distill.alpha must lie in [0, 1], got -0.1"),
    ("steps.0.temperature", 0, "distill.temperature must be greater than 0, got 0"),
    ("steps.1.recovery.epochs", 0, "prune.recovery.epochs must be a whole number of at least 1, got 0"),
    ("teacher.training.epochs", 1.5, "teacher.training.epochs must be a whole number of at least 1, got 1.5"),
    ("steps.1.recovery.learning_rate", float("inf"), "prune.recovery.learning_rate must be greater than 0, got inf"),
    ("teacher.model.hidden", [0], "teacher.model.hidden must be a list of whole numbers of at least 1, got [0]"),
    ("steps.1.rato", 0.5, "prune has an unknown setting 'rato', did you mean 'ratio'?"),
    ("steps.1.threshold", 0.1, "prune has an unknown setting 'threshold', which is called 'min_score' now"),
    ("stepz", 1, "recipe has an unknown setting 'stepz', did you mean 'steps'?"),
    (
        "data.kind",
        "digit",
        "data.kind must be one of digits, breast_cancer, mnist1d, table, pictures, torch, huggingface, got 'digit', "
        "did you mean 'digits'?",
    ),
    (
        "steps.1.kind",
        "prun",
        "steps[1].kind must be one of distill, prune, sparsify, quantize, got 'prun', did you mean 'prune'?",
    ),
    (
        "steps.0.transfer",
        [{"kind": "hidden"}, {"kind": "pooled", "weight": 0}],
        "distill.transfer.pooled.weight must be greater than 0, got 0",
    ),
    (
        "steps.0.transfer",
        [{"kind": "hiden"}],
        "distill.transfer[0].kind must be one of hidden, attention, pooled, features, got 'hiden', "
        "did you mean 'hidden'?",
    ),
    (
        "steps.1.recovery.transfer",
        [{"kind": "pooled"}] * 2,
        "prune.recovery.transfer must name each kind once, got pooled, pooled",
    ),
    ("steps.1.recovery.temperature", 0, "prune.recovery.temperature must be greater than 0, got 0"),
    ("data", {}, "data.kind is missing"),
    ("teacher.training", {}, "teacher.training.epochs is missing"),
    ("workers", 0, "workers must be a whole number of at least 1, got 0"),
    ("workers", True, "workers must be a whole number of at least 1, got True"),
    ("seed", -1, "seed must be a whole number in [0, 2^32), got -1"),
    ("name", "../x", "name must match ^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$, got '../x'"),
    ("steps", [], "steps must name at least one step, got none"),
    ("steps", [QUANTIZE, DISTILL], "steps must begin with distill, which makes the student, got quantize, distill"),
    ("steps", [DISTILL, PRUNE, PRUNE], "steps must name each kind once, got distill, prune, prune"),
    (
        "steps",
        [DISTILL, QUANTIZE, PRUNE],
        "steps must end with quantize: an INT8 model cannot be changed further, got distill, quantize, prune",
    ),
    (
        "data",
        {"kind": "breast_cancer"},
        "teacher.model.kind must be mlp for breast_cancer, whose samples are no images, got 'cnn'",
    ),
    (
        "teacher.model.channels",
        [8, 8, 8, 8],
        "teacher.model.channels must halve images of 8 x 8 pixels at most 3 times, got 4",
    ),
    ("workers", 65, "teacher.training.batch_size must be at least workers (65), got 64"),
]


@pytest.mark.parametrize(("path", "value", "message"), BROKEN)
def test_broken_rule_is_named_with_what_was_got(path: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.parse(changed(path, value))
    assert str(caught.value) == message


def test_a_manifest_of_before_that_left_a_renamed_setting_out_is_read() -> None:
    assert recipe.parse(changed("steps.1.threshold", None)) == recipe.parse(changed("seed", 0))


def test_all_problems_are_told_at_once() -> None:
    raw = changed("steps.1.ratio", 2) | {"seed": -1, "name": ""}
    with pytest.raises(RecipeError) as caught:
        recipe.parse(raw)
    assert len(str(caught.value).splitlines()) == 3


@given(st.floats().filter(lambda ratio: not 0 < ratio < 1))
def test_ratio_outside_its_interval_is_refused(ratio: float) -> None:
    with pytest.raises(RecipeError, match=r"prune\.ratio must lie in \(0, 1\)"):
        recipe.parse(changed("steps.1.ratio", ratio))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
PATHS = ["name", "data", "teacher", "teacher.model", "steps", "steps.0.student", "steps.1"]


@given(path=st.sampled_from(PATHS), value=ANYTHING)
def test_whatever_is_written_gives_a_recipe_or_a_recipe_error(path: str, value: Any) -> None:
    try:
        recipe.parse(changed(path, value))
    except RecipeError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: [", "is no YAML"),
        (b"\xff\xfe\x00", "is no YAML"),
        (b"- 1", "must hold settings such as 'name: signals', got list"),
        (b"", "must hold settings such as 'name: signals', got NoneType"),
    ],
)
def test_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        recipe.load(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml cannot be read: No such file"):
        recipe.load(tmp_path / "none.yaml")


def test_number_without_a_dot_is_a_number(tmp_path: Path) -> None:
    """YAML reads 1e-3 as a string."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RAW).replace("epochs: 1", "epochs: 1\n    learning_rate: 1e-3", 1))
    rates = {recipe.load(path).teacher.training.learning_rate, recipe.load(path).distill.training.learning_rate}
    assert 0.001 in rates


def test_digest_depends_on_settings_alone(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("# a comment\n" + yaml.safe_dump(RAW, sort_keys=False))
    plain = recipe.parse(RAW)
    assert recipe.load(path).sha256 == plain.sha256
    assert recipe.parse(changed("seed", 0)).sha256 == plain.sha256, "a default that is spelled out changes nothing"
    assert recipe.parse(changed("seed", 1)).sha256 != plain.sha256
    assert recipe.parse(plain.model_dump(mode="json")) == plain
