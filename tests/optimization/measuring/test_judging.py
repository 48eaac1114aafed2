"""Intervals and tests are held against a truth that is known, since it was simulated."""

import numpy as np
import pytest
from numpy.typing import NDArray

from optimization.measuring import judging, measures, paired
from optimization.measuring.paired import Pairs, Resampled
from optimization.tasks.classification import Classification
from optimization.tasks.regression import Regression

TASK = Classification()
AUROC = measures.named("auroc")
MSE = measures.named("mse")


NUMBERS = Regression()


def scored(labels: NDArray[np.int64], shift: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Scores whose AUROC is Phi(shift / sqrt 2)."""
    return (random.normal(size=len(labels)) + shift * labels)[:, np.newaxis].astype(np.float32)


@pytest.mark.long
def test_intervals_by_resampling_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of an AUROC of 0.7602 on 200 examples: 95 % are promised, and 87 % are what is asked of so few repetitions."""
    random, truth, held = np.random.default_rng(0), 0.7602, 0
    for _ in range(60):
        labels = random.integers(0, 2, 200)
        found = judging.judge(AUROC, TASK, scored(labels, 1.0, random), labels).quality()
        held += found.low <= truth <= found.high
    assert held >= 52


def test_intervals_of_a_mean_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of squared errors, whose mean is 1, on 200 examples: skewed, so that a little less than 95 % are held."""
    random, held = np.random.default_rng(0), 0
    for _ in range(300):
        errors = random.normal(size=200)
        found = judging.judge(MSE, NUMBERS, errors[:, np.newaxis].astype(np.float32), np.zeros(200)).quality()
        held += found.low <= 1 <= found.high
    assert 0.91 <= held / 300 <= 0.985


def test_a_model_that_loses_what_is_allowed_is_seldom_taken_for_less() -> None:
    """Paired, on errors: at most one in twenty is promised."""
    random, taken = np.random.default_rng(0), 0
    for _ in range(400):
        first = random.normal(size=300) ** 2
        second = first + 0.1 + 0.3 * random.normal(size=300)
        draws = random.integers(0, 300, (200, 300))
        found = Resampled(
            drop=float((second - first).mean()), drops=(second - first)[draws].mean(axis=1), num_samples=300
        )
        taken += paired.p_value(found, 0.1) <= 0.05
    assert taken <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)


def test_of_right_and_wrong_answers_wilsons_and_tangos_stay(random: np.random.Generator) -> None:
    labels = random.integers(0, 2, 100)
    one, other = (judging.judge(measures.named("accuracy"), TASK, random.random((100, 1)), labels) for _ in range(2))
    assert one.right is not None and other.right is not None
    assert judging.compare(one, other) == Pairs.of(one.right, other.right)
    assert one.quality().value == one.right.mean()


def test_models_are_compared_on_the_same_draws(random: np.random.Generator) -> None:
    read = random.normal(size=(100, 1)).astype(np.float32)
    found = judging.compare(*(judging.judge(MSE, NUMBERS, read, np.zeros(100)) for _ in range(2)))
    assert isinstance(found, Resampled)
    assert paired.interval(found) == (0, 0)
    assert paired.p_value(found, 0.01) == pytest.approx(1 / (1 + judging.NUM_RESAMPLES))


def test_more_examples_that_say_the_same_prove_more(random: np.random.Generator) -> None:
    found = Resampled(drop=0.0, drops=random.normal(size=500), num_samples=100)
    assert paired.p_value(found.more(9), 1.0) < paired.p_value(found, 1.0)
    assert found.more(9).num_samples == 900


def test_of_errors_more_is_worse() -> None:
    assert MSE.drop(1.0, 3.0) == 2
    assert AUROC.drop(0.9, 0.8) == pytest.approx(0.1)
    assert judging.shortfall(MSE, 1.0, 3.0, 0.5) == 1.5
    assert judging.shortfall(AUROC, 0.9, 0.89, 0.05) == 0
