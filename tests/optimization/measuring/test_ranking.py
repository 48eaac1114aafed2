"""The area under the ROC curve, against scikit-learn, and its interval, against resampling."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from optimization.measuring.ranking import auc


def drawn(num, apart, seed=0):
    random = np.random.default_rng(seed)
    labels = (random.random(num) < 0.4).astype(np.int64)
    return (random.standard_normal(num) + apart * labels).astype(np.float32), labels


@pytest.mark.parametrize("digits", [8, 0])
def test_it_is_the_share_of_pairs_in_the_right_order_ties_counting_half(digits):
    scores, labels = drawn(500, 0.8)
    scores = scores.round(digits)
    assert auc(scores, labels).value == pytest.approx(roc_auc_score(labels, scores))


def test_its_interval_is_as_wide_as_what_other_samples_give():
    found = auc(*drawn(400, 0.8))
    others = [auc(*drawn(400, 0.8, seed)).value for seed in range(1, 400)]
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.std(others), rel=0.2)
    assert auc(np.array([0.1, 0.9], np.float32), np.array([0, 1])).value == 1.0
