"""NAB's scoring, against cases worked out by hand."""

import math

import pytest

from benchmarks.observing.nab_score import Window, normalised, raw_score, sigmoid

WINDOW = Window(500, 599)
NUM_VALUES = 1000


def test_a_silent_detector_has_0_and_a_perfect_one_100():
    assert normalised(raw_score(NUM_VALUES, [WINDOW], []), 1) == 0
    assert normalised(raw_score(NUM_VALUES, [WINDOW], [500]), 1) == pytest.approx(100, abs=1e-3)


def test_a_hit_at_the_end_of_the_window_is_worth_little_and_only_the_first_counts():
    last = raw_score(NUM_VALUES, [WINDOW], [599])
    assert last == pytest.approx((2 / (1 + math.exp(-0.05)) - 1) / 0.98661)
    middle = raw_score(NUM_VALUES, [WINDOW], [550])
    assert middle == pytest.approx((2 / (1 + math.exp(-2.5)) - 1) / 0.98661)
    assert raw_score(NUM_VALUES, [WINDOW], [550, 560, 599]) == middle


def test_a_false_alarm_costs_a_ninth_before_any_window_and_long_after():
    assert raw_score(NUM_VALUES, [WINDOW], [300]) == pytest.approx(-1.11)
    assert raw_score(NUM_VALUES, [WINDOW], [900]) == pytest.approx(-1.11)
    assert raw_score(NUM_VALUES, [], [300, 400]) == pytest.approx(-0.22)


def test_a_false_alarm_soon_after_a_window_costs_less():
    assert raw_score(NUM_VALUES, [WINDOW], [609]) == pytest.approx(-1 + 0.11 * sigmoid(10 / 99))
    assert -1.11 < raw_score(NUM_VALUES, [WINDOW], [800]) < -1.1


def test_the_window_before_counts_not_the_one_after():
    windows = [Window(200, 299), Window(700, 799)]
    assert raw_score(NUM_VALUES, windows, [309]) == pytest.approx(-2 + 0.11 * sigmoid(10 / 99))


def test_alarms_of_the_probation_do_not_count():
    assert raw_score(NUM_VALUES, [], [149]) == 0
    assert raw_score(NUM_VALUES, [], [150]) < 0
    assert raw_score(10_000, [], [749]) == 0
    assert raw_score(10_000, [], [750]) < 0
