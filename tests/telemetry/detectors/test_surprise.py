"""Surprise: the combined threshold, and that each kind of evidence finds what is its own."""

import math

import numpy as np
import pytest

from telemetry.detectors.surprise import Surprise, digits_of_two

DAY_S, PACE_S = 86400.0, 300.0


def rhythm(num_days, seed=0):
    """Five-minute values with a daily rhythm."""
    rng = np.random.default_rng(seed)
    times = np.arange(0, num_days * DAY_S, PACE_S)
    return (100 + 50 * np.sin(2 * np.pi * times / DAY_S) + rng.normal(0, 2, len(times))).tolist()


def learnt(num_days):
    detector = Surprise()
    for place, x in enumerate(rhythm(num_days)):
        detector.learn_one(x, place * PACE_S)
    return detector, num_days * DAY_S


def learn_while_usual(detector, x, start_s):
    """How many times `x` is learnt before it is a surprise."""
    for place in range(100):
        if detector.score_one(x, start_s + place * PACE_S) >= 1:
            return place
        detector.learn_one(x, start_s + place * PACE_S)
    return 100


def test_two_p_values_multiply_to_the_stated_rate():
    p = np.random.default_rng(0).random((200_000, 2)).prod(axis=1)
    assert (p <= 10 ** -digits_of_two(0.01)).mean() == pytest.approx(0.01, rel=0.1)
    k = 10 ** -digits_of_two(1e-3)
    assert k * (1 - math.log(k)) == pytest.approx(1e-3)


def test_a_spike_is_a_surprise_at_once():
    detector, now_s = learnt(6)
    assert detector.score_one(200.0, now_s) > 1
    assert detector.score_one(20.0, now_s) > 1


def test_a_missing_peak_is_a_surprise_though_its_values_are_usual():
    detector, now_s = learnt(8)
    noon_s = now_s + DAY_S / 4
    assert detector.score_one(100.0, now_s) < 1
    assert learn_while_usual(detector, 100.0, noon_s) < 20


def test_what_returns_is_no_surprise_though_nothing_was_learnt_since():
    detector, now_s = learnt(8)
    noon_s = now_s + DAY_S / 4
    learn_while_usual(detector, 100.0, noon_s)
    for days in range(4):
        assert detector.score_one(100.0, noon_s + days * DAY_S) >= 1
        assert detector.score_one(150.0, noon_s + days * DAY_S) < 1


def test_the_expected_range_is_where_a_value_alone_is_no_surprise():
    detector, now_s = learnt(6)
    low, high = detector.expected(now_s)
    assert 30 < low < 50
    assert 150 < high < 170
    assert detector.score_one(high + 1, now_s) > 1
