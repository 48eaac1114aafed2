"""What a recipe of a recommender may say, and how it is told what it may not."""

import numpy as np
import pytest

from optimization.errors import DataError, RecipeError
from optimization.recipe.recipe import kind_of_data
from optimization.recommenders import interactions, recipe
from optimization.recommenders.examples import Examples


def raw(train, **changed):
    return {
        "name": "movies",
        "data": {"kind": "interactions", "train": str(train)},
        "training": {"epochs": 1},
    } | changed


def test_a_recipe_of_interactions_is_one_of_a_recommender(tmp_path):
    assert kind_of_data(raw(tmp_path)) == "interactions"
    assert recipe.parse(raw(tmp_path)).training.max_delay == 4


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"training": {"epochs": 0}}, "training.epochs must be a whole number of at least 1, got 0"),
        ({"training": {"epochs": 1, "delay": 2}}, "unknown setting 'delay'"),
        ({"embeddings": {"shards": 1}}, "embeddings.shards must be at least copies (2), got 1"),
        ({"embeddings": {"rows": {"film": 3}}}, "embeddings.rows must name columns of user, item, got 'film'"),
        ({"min_workers": 1}, "min_workers must be left out for a recommender"),
    ],
)
def test_what_breaks_a_rule_is_told_by_name_rule_and_value(tmp_path, changed, told):
    with pytest.raises(RecipeError) as error:
        recipe.parse(raw(tmp_path, **changed))
    assert told in str(error.value)


def test_a_file_that_is_not_there_is_told_before_any_training(tmp_path):
    with pytest.raises(RecipeError, match=r"data\.train must exist"):
        recipe.parse(raw(tmp_path / "nothing.csv"))


def test_tables_have_room_for_the_largest_id_or_say_that_they_have_not():
    config = recipe.Interactions(kind="interactions", train="x")
    parts = [Examples(ids=np.array([[3, 1]]), labels=np.array([1])), Examples(ids=np.array([[0, 9]]), labels=[0])]
    assert interactions.sizes(config, {}, *parts) == {"user": 4, "item": 10}
    assert interactions.sizes(config, {"user": 50}, *parts) == {"user": 50, "item": 10}
    with pytest.raises(DataError, match="'item' must be more than its largest id, 9, got 9"):
        interactions.sizes(config, {"item": 9}, *parts)
