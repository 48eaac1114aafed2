import numpy as np

from optimization.tasks.text_pairs import TextPairs


def test_a_text_is_right_where_it_is_its_reference_spaces_aside() -> None:
    assert TextPairs().right(np.array(["a b ", "a"]), np.array([" a b", "b"])).tolist() == [True, False]


def test_next_words_are_compared_by_their_distribution_not_by_their_logits(random: np.random.Generator) -> None:
    """Adding 5 to all logits says the same of the next word; their KL as they stand would be far below 0."""
    task, logits = TextPairs(), random.normal(size=(20, 7)).astype(np.float32)
    one, other = (task.read(each, task.output) for each in (logits, logits + 5))
    assert not task.changed(one, other).any()
    np.testing.assert_allclose(task.divergence(one, other), 0, atol=1e-6)
