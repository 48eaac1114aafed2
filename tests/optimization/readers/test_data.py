import numpy as np

from optimization.readers import data, holding
from optimization.readers.examples import Dataset, Split
from optimization.recipe.sources import BreastCancer, Digits, Mnist1d
from optimization.tasks.task import UNLABELLED


def test_equal_seeds_give_equal_splits() -> None:
    one, same, other = (data.load(Digits(kind="digits"), seed) for seed in (1, 1, 2))
    for name in ("train", "validation", "held_out"):
        first, again, others = (getattr(each, name).inputs["pixels"] for each in (one, same, other))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, others)


def test_no_example_is_in_two_splits() -> None:
    made = data.load(Digits(kind="digits"), 0)
    splits = (made.train, made.validation, made.held_out)
    assert sum(map(len, splits)) == 1797
    assert len({row.tobytes() for split in splits for row in split.inputs["pixels"]}) == 1797


def test_shifted_copies_of_what_decides_or_reports_are_not_trained_on(digits: Dataset) -> None:
    trained = {row.tobytes() for row in digits.train.inputs["pixels"]}
    for split in (digits.validation, digits.held_out):
        assert not any(row.tobytes() in trained for row in split.inputs["pixels"])


def test_classes_keep_their_proportion(digits: Dataset) -> None:
    shares = [np.bincount(each.labels) / len(each) for each in (digits.train, digits.validation, digits.held_out)]
    np.testing.assert_allclose(shares[0], shares[2], atol=0.005)
    np.testing.assert_allclose(shares[1], shares[2], atol=0.015)


def test_any_first_part_of_a_sample_has_all_classes_of_a_sorted_file() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    split = Split(inputs={"x": np.arange(1000)[:, None]}, labels=labels)
    drawn, again, other = (holding.sample(split, 256, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(drawn.inputs["x"], again.inputs["x"])
    assert not np.array_equal(drawn.inputs["x"], other.inputs["x"])
    for num in (20, 64, 256):
        np.testing.assert_allclose(np.bincount(drawn.labels[:num]) / num, [0.6, 0.3, 0.1], atol=0.06)


def test_the_only_example_of_a_class_is_trained_on() -> None:
    split = Split(inputs={"x": np.arange(30)[:, None]}, labels=np.array([*[0] * 20, *range(1, 11)]))
    train, validation = holding.cut(split, 0.4, 0)
    assert set(train.labels) == set(range(11))
    assert set(validation.labels) == {0}
    assert len(validation) == 12


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


def test_unlabelled_signals_come_after_the_published_ones_and_are_new() -> None:
    published, extended = (data.load(Mnist1d(kind="mnist1d", unlabelled=num), 0) for num in (0, 300))
    signals = extended.train.inputs["signal"]
    np.testing.assert_array_equal(signals[:-300], published.train.inputs["signal"])
    assert (extended.train.labels[-300:] == UNLABELLED).all()
    assert len({row.tobytes() for row in signals}) == len(signals)
    np.testing.assert_array_equal(extended.held_out.labels, published.held_out.labels)
