import numpy as np
import pytest
from scipy import optimize, special

from optimization.artifact import cascade
from optimization.cascade import temperature


def drawn(outputs, true, num=4000):
    """Logits, and labels that follow them divided by the `true` temperature."""
    random = np.random.default_rng(0)
    logits = random.normal(scale=3, size=(num, outputs))
    if outputs == 1:
        return logits, (random.uniform(size=num) < special.expit(logits[:, 0] / true)).astype(np.int64)
    shares = special.softmax(logits / true, axis=1).cumsum(axis=1)
    return logits, (random.uniform(size=(num, 1)) > shares).sum(axis=1).clip(max=outputs - 1)


@pytest.mark.parametrize("outputs", [1, 2, 10])
@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_it_is_the_likeliest_and_the_one_that_the_labels_follow(outputs, true):
    logits, labels = drawn(outputs, true)
    wide = np.column_stack([np.zeros(len(logits)), logits]) if outputs == 1 else logits

    def unlikely(each):
        return -special.log_softmax(wide / each, axis=1)[np.arange(len(wide)), labels].mean()

    found = temperature.fit(logits, labels)
    assert found == pytest.approx(optimize.minimize_scalar(unlikely, bounds=(0.05, 20), method="bounded").x, rel=1e-3)
    assert found == pytest.approx(true, rel=0.1)


def test_probabilities_then_say_how_often_the_answer_is_right():
    logits, labels = drawn(10, 3.0)
    found = cascade.confidence(logits, temperature.fit(logits, labels))
    is_right = logits.argmax(axis=1) == labels
    assert found.mean() == pytest.approx(is_right.mean(), abs=0.02)
    assert cascade.confidence(logits, 1.0).mean() > is_right.mean() + 0.1  # before, it was too sure


def test_where_all_answers_are_right_or_all_wrong_it_stays_finite():
    logits = np.array([[4.0, 0.0], [0.0, 4.0]])
    assert temperature.fit(logits, np.array([0, 1])) == pytest.approx(temperature.LEAST)
    assert temperature.fit(logits, np.array([1, 0])) == pytest.approx(temperature.MOST)


@pytest.mark.parametrize("outputs", [1, 4])
def test_logits_and_their_probabilities_are_equally_sure(outputs):
    logits = np.random.default_rng(0).normal(scale=4, size=(50, outputs)).astype(np.float32)
    made = special.expit(logits) if outputs == 1 else special.softmax(logits, axis=1)
    given, read = cascade.logits(logits, "logits"), cascade.logits(made, "probabilities")
    np.testing.assert_allclose(cascade.confidence(given, 1.7), cascade.confidence(read, 1.7), rtol=1e-4)
    whole = np.column_stack([1 - made, made]) if outputs == 1 else made
    np.testing.assert_allclose(cascade.confidence(read, 1.0), whole.max(axis=1), rtol=1e-4)


def test_a_probability_of_zero_or_one_is_sure():
    certain = np.array([[0.0], [1.0]], np.float32)
    np.testing.assert_allclose(cascade.confidence(cascade.logits(certain, "probabilities"), 1.0), 1)
