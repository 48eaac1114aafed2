"""Absence: regular and irregular gaps, what a gap teaches."""

import numpy as np

from telemetry.detectors.absence import Absence
from tests.telemetry.detectors.families import scores


def test_silence_is_seen_after_the_least_time_where_values_came_each_second():
    detector = Absence(least_s=10.0)
    scores(detector, [1.0] * 60)
    assert detector.score_one(None, 59.0 + 9.0) < 1 <= detector.score_one(None, 59.0 + 10.0)


def test_silence_is_seen_after_three_of_the_longest_usual_gaps_where_values_are_rare():
    detector = Absence(least_s=10.0)
    scores(detector, [1.0] * 30, pace_s=60.0)
    assert detector.score_one(None, 29 * 60.0 + 170) < 1 <= detector.score_one(None, 29 * 60.0 + 180)


def test_irregular_arrivals_are_no_absence():
    rng, now_s, detector = np.random.default_rng(0), 0.0, Absence(least_s=1.0)
    unusual = 0
    for gap_s in rng.exponential(5.0, 20_000):
        now_s += gap_s
        unusual += detector.score_one(None, now_s) >= 1
        detector.learn_one(None, now_s)
    assert unusual <= 20


def test_an_outage_does_not_become_usual():
    detector = Absence(least_s=10.0)
    scores(detector, [1.0] * 60)
    for outage in range(1, 50):
        detector.learn_one(None, outage * 10_000.0)
    assert detector.score_one(None, 49 * 10_000.0 + 10) >= 1


def test_it_lasts_until_a_value_comes_over_a_restart_too():
    detector, restarted = Absence(), Absence()
    scores(detector, [1.0] * 60)
    restarted.restore(detector.state())
    assert restarted.score_one(None, 7200.0) > 100
    restarted.learn_one(1.0, 7200.0)
    assert restarted.score_one(None, 7201.0) < 1
