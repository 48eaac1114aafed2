"""The promise itself: over many draws of validation examples, how often and by how much it is broken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optimization.cascade import threshold

DRAWS = 300


def draw(random, num):
    """Confidences, and whether an example is lost where the student answers it: rarer the surer it is."""
    confidences = random.uniform(size=num)
    return confidences, random.uniform(size=num) < 0.3 * (1 - confidences) ** 2


def true_loss(least):
    """Share of all examples that are lost where the student answers from that confidence on."""
    return 0.1 * (1 - least) ** 3


@pytest.mark.parametrize(("num", "max_loss", "confidence"), [(300, 0.02, 0.9), (1000, 0.01, 0.8), (150, 0.03, 0.95)])
def test_the_budget_is_broken_no_more_often_than_was_said_and_not_on_average(num, max_loss, confidence):
    random = np.random.default_rng(0)
    losses = []
    for _ in range(DRAWS):
        chosen = threshold.choose(*draw(random, num), max_loss, confidence)
        losses.append(0.0 if chosen is None else true_loss(chosen.threshold))
    broken = sum(loss > max_loss for loss in losses)
    assert stats.binomtest(broken, DRAWS, 1 - confidence, alternative="greater").pvalue > 1e-4
    assert np.mean(losses) <= max_loss
    assert np.mean(losses) > max_loss / 6  # it is not kept by sending everything on


def test_it_holds_where_many_are_equally_sure():
    random = np.random.default_rng(1)
    broken = 0
    for _ in range(DRAWS):
        confidences, lost = draw(random, 300)
        steps = np.ceil(confidences * 5) / 5  # the student knows five confidences
        chosen = threshold.choose(steps, lost, 0.02, 0.9)
        broken += chosen is not None and true_loss(max(0.0, np.ceil(chosen.threshold * 5) / 5 - 0.2)) > 0.02
    assert stats.binomtest(broken, DRAWS, 0.1, alternative="greater").pvalue > 1e-4


@given(num=st.integers(1, 300), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_the_bound_is_the_exact_one_of_clopper_and_pearson(num, share, confidence):
    lost = round(share * (num - 1))
    found = threshold.upper_bound(lost, num, confidence)
    assert found == pytest.approx(stats.beta.ppf(confidence, lost + 1, num - lost), abs=1e-6)


@given(
    st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=400),
    st.floats(0.005, 0.4),
    st.floats(0.5, 0.99),
)
def test_no_lower_threshold_would_have_kept_the_budget(examples, max_loss, confidence):
    confidences, lost = np.array([each[0] for each in examples]), np.array([each[1] for each in examples])
    num = len(examples)

    def keeps(least):
        count = int(lost[confidences >= least].sum())
        return threshold.upper_bound(count, num, confidence) <= max_loss + 1e-9 and (count + 1) / (num + 1) <= max_loss

    chosen = threshold.choose(confidences, lost, max_loss, confidence)
    if chosen is None:
        assert not keeps(confidences.max())
        return
    assert keeps(chosen.threshold)
    assert chosen.bound <= max_loss + 1e-9
    lower = confidences[confidences < chosen.threshold]
    assert not len(lower) or not keeps(lower.max())


@given(max_loss=st.floats(0.0005, 0.5), confidence=st.floats(0.5, 0.999))
def test_so_many_examples_are_needed_and_no_fewer(max_loss, confidence):
    needed = threshold.num_needed(max_loss, confidence)
    assert threshold.most_lost(needed + 1, max_loss, confidence) is not None
    assert needed < 2 or threshold.most_lost(needed - 2, max_loss, confidence) is None


def test_a_tenth_of_a_point_takes_three_thousand_examples():
    assert threshold.num_needed(0.001, 0.95) == 2995


def test_with_too_few_examples_or_surest_answers_that_are_lost_there_is_no_threshold():
    sure = np.linspace(0.5, 1, 1000)
    assert threshold.choose(sure[:100], np.zeros(100, bool), 0.001, 0.95) is None
    assert threshold.choose(np.ones(1000), np.arange(1000) < 50, 0.01, 0.95) is None


def test_a_student_that_loses_nothing_answers_everything():
    chosen = threshold.choose(np.linspace(0.5, 1, 1000), np.zeros(1000, bool), 0.01, 0.95)
    assert chosen is not None
    assert (chosen.threshold, chosen.num_lost) == (0.0, 0)
    assert chosen.bound == pytest.approx(1 - 0.05 ** (1 / 1000))
