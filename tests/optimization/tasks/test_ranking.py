"""Candidates of a query are put in order: by what that is measured, and that queries stay whole."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import ndcg_score

from optimization.errors import DataError
from optimization.measuring import candidates, judging, measures
from optimization.readers import tables
from optimization.recipe import recipe, sources
from optimization.running import run
from optimization.tasks.named import TASKS
from tests.optimization.tasks.test_all import RECIPE, dataset_of

TASK = TASKS["ranking"]


def table(**settings: object) -> sources.Table:
    return sources.Table.model_validate(
        {"kind": "table", "train": "x", "task": "ranking", "query": "query", "held_out": 0.25, **settings}
    )


def test_each_query_counts_once_whatever_the_order_of_the_rows(random: np.random.Generator) -> None:
    """The last of three queries has nothing relevant, and does not count."""
    relevance = np.array([[3, 0, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]], float)
    scores = np.array([[0.9, 0.8, 0.1, 0.2], [0.5, 0.5, 0.5, 0.1], [1, 2, 3, 4]])
    labels = np.stack([relevance.ravel(), np.repeat([7, 5, 6], 4)], axis=1)
    order = random.permutation(12)
    found = candidates.ndcg(labels[order], scores.ravel()[order], 3)
    expected = [ndcg_score(relevance[[row]], scores[[row]], k=3) for row in (1, 0)]
    np.testing.assert_allclose(found, expected)
    assert candidates.reciprocal_rank(labels, scores.ravel()).tolist() == [1 / 3, 1]
    assert candidates.recall(labels, scores.ravel(), 2).tolist() == [0, 0.5]


def test_queries_are_what_is_drawn() -> None:
    dataset = dataset_of("ranking", TASK)
    read = TASK.ideal(dataset.held_out.labels, 1)
    judged = judging.judge(measures.find(None, TASK), TASK, -read, dataset.held_out.labels)
    assert judged.resampled is not None
    assert 0 < judged.quality().low < judged.value < judged.quality().high < 1


def test_candidates_of_a_query_stay_together() -> None:
    frame = pd.DataFrame({"x": range(40), "query": [f"q{number % 8}" for number in range(40)], "label": [0, 1] * 20})
    dataset = tables.dataset(table(), frame, {}, 0)
    parts = [set(each.labels[:, 1]) for each in (dataset.train, dataset.validation, dataset.held_out)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 8
    assert len(dataset.held_out) == 10
    assert dataset.train.inputs["features"].shape[1] == 1


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"label": [-1.0] * 8}, "finite number of at least 0, got -1.0 in row 0"),
        ({"label": ["much"] * 8}, "must be a number, got 'much' in row 0"),
        ({"query": ["q"] * 8}, "at least 2 queries to hold one out, got 1"),
    ],
)
def test_what_cannot_be_put_in_order_is_named(column: dict[str, list[object]], message: str) -> None:
    frame = pd.DataFrame({"x": range(8), "query": [*"aabbccdd"], "label": [0, 1] * 4} | column)
    with pytest.raises(DataError, match=message):
        tables.dataset(table(), frame, {}, 0)


def test_an_order_of_candidates_that_are_all_alike_is_refused_before_training() -> None:
    dataset = dataset_of("ranking", TASK)
    dataset.held_out.labels[:, 0] = 0
    with pytest.raises(DataError, match="ndcg_at_10 must be defined on the held-out examples, got: no query has"):
        run.measured_by(recipe.parse(RECIPE), dataset)


def test_a_query_is_named_for_a_ranking_alone() -> None:
    for settings in ({"query": None}, {"task": "regression"}):
        with pytest.raises(ValueError, match=r"data.query must name a column where data.task is ranking"):
            table(**settings)
