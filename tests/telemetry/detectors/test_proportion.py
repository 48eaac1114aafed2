"""Proportions: Wilson's bound as published, few trials prove little."""

import pytest

from telemetry.detectors.detector import DetectorError
from telemetry.detectors.proportion import Proportion, ProportionShift, wilson_lower


def test_wilson_bound_is_the_published_one():
    # 81 of 263, z = 1.96: Newcombe 1998 (doi:10.1002/(SICI)1097-0258(19980430)17:8), method 3, 0.2553
    assert wilson_lower(Proportion(81, 263), 1.959964) == pytest.approx(0.2553, abs=5e-5)
    assert wilson_lower(Proportion(0, 20), 1.959964) == 0.0


def test_one_failure_of_two_says_nothing_and_300_of_1000_much():
    detector = ProportionShift(warmup=0)
    assert detector.score_one(Proportion(1, 2), 0.0) == 0
    assert detector.score_one(Proportion(300, 1000), 0.0) > 4


def test_no_trials_prove_nothing():
    detector = ProportionShift(warmup=3)
    for time_s in range(10):
        detector.learn_one(Proportion(0, 0), time_s)
    assert detector.score_one(Proportion(0, 0), 10.0) == 0
    assert detector.score_one(Proportion(90, 100), 10.0) > 1


@pytest.mark.parametrize("proportion", [Proportion(3, 2), Proportion(-1, 2)])
def test_more_hits_than_trials_are_refused(proportion):
    with pytest.raises(DetectorError, match="0 <= num_hits <= num_trials"):
        ProportionShift().learn_one(proportion, 0.0)
