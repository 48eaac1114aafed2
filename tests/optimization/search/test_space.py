from typing import Any

import pytest

from optimization.errors import RecipeError
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe
from optimization.search import space


@pytest.fixture
def wanted(digits_recipe: Recipe) -> Recipe:
    return digits_recipe


def searching(wanted: Recipe, choices: dict[str, Any], **settings: Any) -> Recipe:
    raw = wanted.model_dump(mode="json")
    return recipe.parse(raw | {"search": {"choices": choices, **settings}})


def test_every_combination_is_tried_once(wanted: Recipe) -> None:
    found = space.variants(searching(wanted, {"prune.ratio": [0.3, 0.5], "distill.student.hidden": [[32], [64, 32]]}))
    assert len(found) == 4
    assert {(each.recipe.steps[1].ratio, each.recipe.distill.student.hidden) for each in found} == {  # type: ignore[union-attr]
        (ratio, hidden) for ratio in (0.3, 0.5) for hidden in ((32,), (64, 32))
    }
    for each in found:
        assert each.recipe.search is None
        assert each.recipe.teacher == wanted.teacher
        assert each.recipe.steps[2] == wanted.steps[2]


def test_a_step_may_be_left_out(wanted: Recipe) -> None:
    found = space.variants(searching(wanted, {"prune": [True, False], "prune.ratio": [0.3, 0.5]}))
    kinds = sorted(tuple(step.kind for step in each.recipe.steps) for each in found)
    assert kinds == [("distill", "prune", "quantize")] * 2 + [("distill", "quantize")], "one without, not two alike"


def test_a_large_space_is_sampled_without_repeats_and_always_alike(wanted: Recipe) -> None:
    choices = {"prune.ratio": [each / 100 for each in range(1, 100)], "prune.round_to": [1, 2, 4, 8]}
    found = space.variants(searching(wanted, choices, trials=10))
    assert len({each.recipe.sha256 for each in found}) == 10
    assert space.variants(searching(wanted, choices, trials=10)) == found
    assert len({each.settings["prune.ratio"] for each in found}) > 4, "not the grid's first rows"


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            {"prune.ratio": [0.5, 1.5, 2]},
            "search.choices: prune.ratio must lie in (0, 1), got 1.5\nsearch.choices: ",
        ),
        ({"prune.ration": [0.5]}, "search.choices: prune has an unknown setting 'ration', did you mean 'ratio'?"),
        ({"prone.ratio": [0.5]}, "'prone.ratio' must begin with a step of this recipe, did you mean 'prune'?"),
        ({"teacher.model.hidden": [[1]]}, "must begin with a step of this recipe; known are distill, prune, quantize"),
        ({"prune": ["no"]}, "'prune' alone must be true or false, whether the step is taken, got 'no'"),
        ({"prune.ratio.x": [1]}, "'prune.ratio.x' must name a setting: 'ratio' has none below it"),
        ({"distill.training.batch_size": [1]}, "batch_size must be at least workers (2), got 1"),
    ],
)
def test_every_wrong_choice_is_found_before_anything_runs(
    wanted: Recipe, choices: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        space.variants(searching(wanted, choices))
    assert message in str(caught.value)


def test_settings_of_the_search_are_checked(wanted: Recipe) -> None:
    with pytest.raises(RecipeError) as caught:
        searching(wanted, {}, trials=0, budget={"max_drop": 0, "confidence": 1}, target="speed")
    lines = str(caught.value).splitlines()
    assert "search.trials must be a whole number of at least 1, got 0" in lines
    assert "search.budget.max_drop must be greater than 0, got 0" in lines
    assert "search.choices must name at least one setting and its values, got {}" in lines
    assert any("search.target must be 'latency', 'size' or 'cost', got 'speed'" in line for line in lines)


def test_epochs_are_those_of_every_training_after_the_teachers(digits_recipe: Recipe) -> None:
    assert space.num_epochs(digits_recipe) == 15 + 10
    raw = digits_recipe.model_dump(mode="json")
    raw["steps"][1] |= {"stages": 3, "score": "taylor"}
    assert space.num_epochs(recipe.parse(raw)) == 15 + 1 + 3 * 10
