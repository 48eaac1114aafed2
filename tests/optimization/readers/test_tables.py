"""Tables from frames, without Ray; what is wrong with them is told before any training."""

import numpy as np
import pandas as pd
import pytest
from torch import nn

from optimization.errors import DataError, RecipeError
from optimization.networks import weights
from optimization.readers import tables
from optimization.recipe.sources import Table

FRAME = pd.DataFrame({"a": [0.0, 1, 2, 3] * 5, "b": [1] * 20, "label": ["no", "yes"] * 10})


def table(**settings: object) -> Table:
    return Table.model_validate({"kind": "table", "train": "x.csv"} | settings)


def test_features_are_scaled_and_classes_named() -> None:
    made = tables.dataset(table(held_out=0.25), FRAME, {}, 0)
    assert (len(made.train), len(made.validation), len(made.held_out)) == (13, 2, 5)
    assert made.labels == ("no", "yes")
    assert made.offset is not None
    assert made.scale is not None
    scaled = (made.train.inputs["features"] - made.offset) / made.scale
    np.testing.assert_allclose(scaled[:, 0].std(), 1, atol=1e-5)
    assert np.isfinite(scaled).all(), "a column that never changes is not divided by zero"


@pytest.mark.parametrize(
    ("frame", "settings", "message"),
    [
        (FRAME.drop(columns="label"), {}, "data has no column 'label'; known are a, b"),
        (FRAME, {"features": ["a", "c"]}, "data has no column 'c'; known are a, b, label"),
        (FRAME.assign(a="x"), {}, "column 'a' must hold numbers, got 'x' in row 0"),
        (FRAME.assign(a=[np.nan, *[1.0] * 19]), {}, "column 'a' must have a value in every row, got none in row 0"),
        (FRAME.assign(label="yes"), {}, r"column 'label' must name at least 2 classes, got \['yes'\]"),
        (FRAME.assign(label=["no", " "] * 10), {}, "must have a label in every row, got an empty text in row 1"),
    ],
)
def test_what_is_missing_is_named(frame: pd.DataFrame, settings: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tables.dataset(table(**settings), frame, {}, 0)


@pytest.mark.parametrize("split", ["validation", "held_out"])
def test_a_class_that_no_training_example_has_is_refused(split: str) -> None:
    message = "examples kept from training have the class 'maybe', which no training example has, in row 0"
    with pytest.raises(DataError, match=message):
        tables.dataset(table(), FRAME, {split: FRAME.assign(label="maybe")}, 0)


def test_weights_that_do_not_fit_are_named() -> None:
    with pytest.raises(RecipeError, match=r"weights none\.safetensors cannot be read"):
        weights.load(nn.Linear(2, 2), "none.safetensors")


def test_a_column_of_labels_or_of_numbers_is_read_as_the_task_says() -> None:
    several = tables.dataset(table(task="multi_label"), FRAME.assign(label=["a|b", "b"] * 10), {}, 0)
    assert several.labels == ("a", "b")
    assert several.train.labels.shape == (len(several.train), 2)
    numbers = tables.dataset(table(task="regression"), FRAME.assign(label=np.arange(20) / 4), {}, 0)
    assert (numbers.labels, numbers.num_outputs) == ((), 1)
    found = [each.labels for each in (numbers.train, numbers.validation, numbers.held_out)]
    assert sorted(np.concatenate(found).tolist()) == (np.arange(20) / 4).tolist()
    with pytest.raises(DataError, match="labels must be numbers for a regression, got 'no' in row 0"):
        tables.dataset(table(task="regression"), FRAME, {}, 0)
