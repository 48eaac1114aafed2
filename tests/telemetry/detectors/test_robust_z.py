"""Robust z: against numpy, among outliers, after quiet."""

import numpy as np
import pytest

from telemetry.detectors.robust_z import RobustZScore
from tests.telemetry.detectors.families import scores, steady


def test_the_score_is_that_of_numpys_quartiles():
    window = np.array(steady("skewed", 120))
    detector = RobustZScore(least_ratio=0.0)
    scores(detector, [*steady("skewed", 400), *window])
    lower, median, upper = np.percentile(window, (25, 50, 75))
    deviation = max(upper - lower, 2 * (upper - median)) / 1.349
    assert detector.score_one(9.0, 0.0) == pytest.approx((9.0 - median) / (8 * deviation))


def test_a_fifth_of_outliers_does_not_hide_another():
    clean, dirty = RobustZScore(), RobustZScore()
    for index, x in enumerate(steady("skewed", 100)):
        clean.learn_one(x, 0.0)
        dirty.learn_one(1e6 if index % 5 == 0 else x, 0.0)
    assert dirty.score_one(20.0, 0.0) > clean.score_one(20.0, 0.0) / 3 > 0.25


def test_noise_below_the_least_shift_is_not_unusual():
    detector = RobustZScore(least_shift=0.008)
    scores(detector, [0.0002] * 50)
    assert detector.score_one(0.008, 50.0) < 1 < detector.score_one(0.009, 50.0)


@pytest.mark.parametrize(("side", "up", "down"), [("above", True, False), ("below", False, True), ("both", True, True)])
def test_a_side_sees_steps_to_its_side_alone(side, up, down):
    detector = RobustZScore(side=side, least_ratio=0.2)
    scores(detector, steady("normal", 200))
    assert (detector.score_one(180.0, 200.0) >= 1) == up
    assert (detector.score_one(20.0, 200.0) >= 1) == down
