"""A share that should not fall, and the interval that holds at all times."""

import json
import math

import numpy as np
import pytest

from telemetry.fidelity.confidence_sequence import interval
from telemetry.fidelity.share import WatchedShare


def test_an_interval_holds_at_every_number_of_trials_at_once():
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(40):
        hits = np.cumsum(random.random(2000) < 0.9)
        for num_trials in range(40, 2001, 40):
            low, high = interval(int(hits[num_trials - 1]), num_trials)
            if not low <= 0.9 <= high:
                wrong += 1
                break
    assert wrong <= 2


def test_an_interval_of_nothing_is_everything_and_one_of_much_is_narrow():
    assert interval(0, 0) == (0.0, 1.0)
    low, high = interval(9000, 10_000)
    assert 0.88 < low < 0.9 < high < 0.92
    assert interval(10, 10)[1] == 1.0


def test_a_loss_of_three_points_is_noticed_and_none_is_seen_where_there_is_none():
    random = np.random.default_rng(2)
    watched = WatchedShare(num_good=9700, num_rows=10_000)
    for _ in range(500):
        good = int(random.binomial(100, 0.97))
        watched.take(num_good=good, num_bad=100 - good)
    assert not watched.has_fallen
    rows = 0
    while not watched.has_fallen:
        good = int(random.binomial(10, 0.94))
        watched.take(num_good=good, num_bad=10 - good)
        rows += 10
    assert rows <= 2500
    reading = watched.reading()
    assert reading.expected == 0.97
    assert reading.low <= reading.value <= reading.high
    assert 0 < reading.fallen_rows <= reading.rows


def test_what_was_measured_on_few_examples_is_taken_as_that_unsure():
    few, many = WatchedShare(num_good=97, num_rows=100), WatchedShare(num_good=9700, num_rows=10_000)
    for _ in range(300):
        few.take(num_good=19, num_bad=1)
        many.take(num_good=19, num_bad=1)
    assert many.has_fallen
    assert not few.has_fallen


def test_a_share_goes_on_after_a_restart():
    watched = WatchedShare(num_good=97, num_rows=100)
    for _ in range(30):
        watched.take(num_good=7, num_bad=3)
    after = WatchedShare.restored(json.loads(json.dumps(watched.state())))
    assert after.reading() == watched.reading()
    assert after.has_fallen


def test_before_the_first_row_nothing_is_claimed():
    reading = WatchedShare(num_good=97, num_rows=100).reading()
    assert math.isnan(reading.value)
    assert (reading.low, reading.high) == (0.0, 1.0)


def test_more_good_rows_than_rows_are_refused():
    with pytest.raises(ValueError, match=r"num_good must lie in \[0, num_rows\], got 5 of 4"):
        WatchedShare(num_good=5, num_rows=4)
