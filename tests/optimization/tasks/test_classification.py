import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from optimization.errors import GraphError
from optimization.tasks.classification import Classification

TASK = Classification()


def test_served_are_the_softmax_or_the_sigmoid() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    served = TASK.served(nn.Identity())
    torch.testing.assert_close(served(logits), torch.softmax(logits, 1))
    torch.testing.assert_close(served(logits[:, :1]), torch.sigmoid(logits[:, :1]))


@pytest.mark.parametrize("num_outputs", [1, 2, 5])
def test_logits_and_their_probabilities_are_read_alike(random: np.random.Generator, num_outputs: int) -> None:
    logits = random.normal(size=(100, num_outputs)).astype(np.float32)
    expected = special.expit(logits) if num_outputs == 1 else special.softmax(logits, axis=1)
    read = TASK.read(logits, "logits")
    np.testing.assert_allclose(read, expected, atol=1e-6)
    np.testing.assert_array_equal(TASK.read(read, "probabilities"), read)
    answers = logits[:, 0] > 0 if num_outputs == 1 else logits.argmax(axis=1)
    np.testing.assert_array_equal(TASK.answers(read), answers)


def test_boxes_are_no_classes() -> None:
    with pytest.raises(GraphError, match="must be logits or probabilities, got boxes"):
        TASK.read(np.zeros((1, 4), np.float32), "boxes")


def test_one_probability_is_the_second_class() -> None:
    np.testing.assert_array_equal(TASK.answers(np.array([[0.4], [0.6]], np.float32)), [0, 1])


def test_changed_are_other_classes() -> None:
    one, other = np.array([[0.9], [0.1], [0.2], [0.3]], np.float32), np.array([[0.8], [0.9], [0.1], [0.4]], np.float32)
    assert TASK.changed(one, other).tolist() == [False, True, False, False]


def test_right_is_the_label() -> None:
    assert TASK.right(np.array([0, 1, 1]), np.array([0, 1, 0])).tolist() == [True, True, False]


def test_divergence_is_the_textbooks(random: np.random.Generator) -> None:
    one, other = (special.softmax(random.normal(size=(50, 4)), axis=1).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(TASK.divergence(one, other), special.rel_entr(one, other).sum(axis=1), rtol=1e-4)
    p, q = np.float32([[0.3]]), np.float32([[0.6]])
    assert TASK.divergence(p, q)[0] == pytest.approx(0.3 * np.log(0.3 / 0.6) + 0.7 * np.log(0.7 / 0.4), 1e-4)


def test_divergence_of_equal_softmaxes_is_zero_whatever_was_added_to_their_logits(random: np.random.Generator) -> None:
    logits = random.normal(size=(50, 4)).astype(np.float32)
    one, other = (TASK.read(each, "logits") for each in (logits, logits + 3))
    np.testing.assert_allclose(TASK.divergence(one, other), 0, atol=1e-6)


def test_divergence_is_never_negative_where_rows_sum_to_anything(random: np.random.Generator) -> None:
    """As of a model with a sigmoid for each class."""
    one, other = (random.uniform(size=(200, 3)).astype(np.float32) for _ in range(2))
    assert TASK.divergence(one, other).min() >= 0


def test_two_classes_have_one_logit_unless_a_model_gives_two() -> None:
    assert [TASK.num_outputs(num) for num in (2, 3, 10)] == [1, 3, 10]
    assert Classification(two_logits=True).num_outputs(2) == 2
