"""Samples become vectors: what is learned, what is near, and when that cannot be told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from optimization.errors import DataError, RecipeError
from optimization.measuring import measures
from optimization.networks import models, own_head
from optimization.recipe import recipe
from optimization.recipe.settings import MeasureChoice
from optimization.running import run
from optimization.tasks.embedding import Embedding, nearest_alike
from tests.optimization.networks import test_own_head as heads
from tests.optimization.tasks.test_all import RECIPE, dataset_of

TASK = Embedding(width=8)


def test_vectors_are_contrasted_with_the_others_of_the_batch(random: np.random.Generator) -> None:
    vectors, labels = torch.from_numpy(random.normal(size=(5, 3))), torch.tensor([[1], [1], [2], [-1], [1]])
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    found = TASK.hard_loss(vectors, labels)
    for row, alike in ((0, (1, 4)), (1, (0, 4)), (4, (0, 1))):
        scores = [float(torch.exp(unit[row] @ unit[other] / 0.1)) for other in range(5) if other != row]
        own = [float(torch.exp(unit[row] @ unit[other] / 0.1)) for other in alike]
        assert float(found[row]) == pytest.approx(-np.mean(np.log(np.array(own) / sum(scores))))
    assert found[[2, 3]].tolist() == [0, 0], "one belongs with none, the other is not labelled"


def test_a_batch_of_one_sample_has_no_gradient() -> None:
    alone = torch.ones(1, 3, requires_grad=True)
    TASK.hard_loss(alone, torch.tensor([[1]])).sum().backward()  # type: ignore[no-untyped-call]
    assert alone.grad is not None and alone.grad.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("num", [1, 4, 500])
def test_recall_is_that_of_the_nearest_neighbours(num: int, random: np.random.Generator) -> None:
    vectors, numbers = TASK.read(random.normal(size=(60, 8)).astype(np.float32), "values"), random.integers(0, 20, 60)
    neighbours = NearestNeighbors(n_neighbors=min(num + 1, 60)).fit(vectors).kneighbors(vectors)[1][:, 1:]
    expected = (numbers[neighbours] == numbers[:, None]).any(axis=1)
    np.testing.assert_array_equal(nearest_alike(numbers, vectors, num), expected)


def test_a_vector_that_belongs_with_no_other_does_not_count() -> None:
    vectors = TASK.read(np.array([[1, 0], [1, 0.1], [0, 1]], np.float32), "values")
    labels = TASK.encode(["a", "a", "b"], ())
    assert measures.find(MeasureChoice(name="recall_at_1"), TASK).of(TASK, vectors, labels) == 1
    assert TASK.encode(["b"], ()).tolist() == labels[2:].tolist(), "equal in all data"


def test_recall_of_examples_that_all_stand_alone_is_refused_before_training() -> None:
    dataset = dataset_of("embedding", TASK)
    alone = replace(dataset.held_out, labels=np.arange(200).reshape(-1, 1))
    with pytest.raises(DataError, match="recall_at_1 must be defined on the held-out examples, got: no two examples"):
        run.measured_by(recipe.parse(RECIPE), replace(dataset, held_out=alone))


def test_an_encoders_own_states_are_its_vectors_and_another_width_must_be_trained(tmp_path: Path) -> None:
    reference = heads.fine_tuned(tmp_path, num_hidden_layers=1).base_model
    dataset = heads.texts(heads.CLASSES)
    data: Any = heads.replace_labels(dataset, dataset.train.labels[:, np.newaxis], task=Embedding(), labels=())
    wanted = heads.wanted(tmp_path)
    fitted = own_head.fit(wanted.teacher, data)
    assert fitted.num_outputs == 16
    assert wanted.teacher.model is not None
    served = fitted.task.served(models.build(wanted.teacher.model, fitted, seed=0))
    inputs = {name: torch.from_numpy(values) for name, values in fitted.train.inputs.items()}
    with torch.inference_mode():
        states, seen = reference(**inputs).last_hidden_state, inputs["attention_mask"][:, :, None]
        means = (states * seen).sum(dim=1) / seen.sum(dim=1)
        expected = means / means.norm(dim=1, keepdim=True)
        torch.testing.assert_close(served(*inputs.values()), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(RecipeError, match=r"teacher.training must be set where vectors .* width 16 for .* 4"):
        own_head.fit(wanted.teacher, replace(data, task=Embedding(width=4)))
