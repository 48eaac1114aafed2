import numpy as np

from optimization.readers import data
from optimization.readers.examples import Dataset
from optimization.recipe.sources import BreastCancer, Digits


def test_equal_seeds_give_equal_splits() -> None:
    one, same, other = (data.load(Digits(kind="digits"), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.held_out.inputs["pixels"], same.held_out.inputs["pixels"])
    assert not np.array_equal(one.held_out.inputs["pixels"], other.held_out.inputs["pixels"])


def test_no_held_out_example_is_trained_on(digits: Dataset) -> None:
    trained = {row.tobytes() for row in digits.train.inputs["pixels"]}
    assert not any(row.tobytes() in trained for row in digits.held_out.inputs["pixels"])


def test_classes_keep_their_proportion(digits: Dataset) -> None:
    train, held_out = (np.bincount(split.labels) / len(split.labels) for split in (digits.train, digits.held_out))
    np.testing.assert_allclose(train, held_out, atol=0.005)


def test_shifts_add_four_copies_to_training_only() -> None:
    plain, shifted = (data.load(Digits(kind="digits", shifts=shifts), 0) for shifts in (False, True))
    num = len(plain.train.labels)
    assert len(shifted.train.labels) == 5 * num
    assert len(shifted.held_out.labels) == len(plain.held_out.labels)
    np.testing.assert_array_equal(shifted.train.inputs["pixels"][:num], plain.train.inputs["pixels"])
    before = plain.train.inputs["pixels"][0].reshape(8, 8)
    down, right = (shifted.train.inputs["pixels"][copy * num].reshape(8, 8) for copy in (1, 3))
    np.testing.assert_array_equal(down[1:], before[:-1])
    np.testing.assert_array_equal(right[:, 1:], before[:, :-1])


def test_scaling_is_learned_from_training_alone() -> None:
    tumours = data.load(BreastCancer(kind="breast_cancer", num_features=8), 0)
    scaled = (tumours.train.inputs["features"] - tumours.offset) / tumours.scale
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-4)
    assert tumours.num_features == 8
    assert tumours.num_outputs == 1
