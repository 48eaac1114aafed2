"""Seasons: time of day and week."""

import math

import numpy as np

from telemetry.detectors.season import DAY_S
from telemetry.detectors.seasonal import Seasonal

HOUR_S = 3600.0


def traffic(num_days, *, weekend=1.0, pace_s=600.0):
    """Load with a daily rhythm; day 0 of the epoch was a Thursday, so days 2 and 3 of each seven are a weekend."""
    rng = np.random.default_rng(0)
    for place in range(int(num_days * DAY_S / pace_s)):
        time_s = place * pace_s
        level = 100 + 80 * math.sin(2 * math.pi * time_s / DAY_S)
        yield time_s, (weekend if time_s // DAY_S % 7 in (2, 3) else 1.0) * level + rng.normal(0, 3)


def unusual(detector, stream):
    found = []
    for time_s, x in stream:
        if detector.score_one(x, time_s) >= 1:
            found.append(time_s)
        detector.learn_one(x, time_s)
    return found


def test_a_daily_rhythm_is_not_unusual_and_noon_at_midnight_is():
    detector = Seasonal()
    assert unusual(detector, traffic(10)) == []
    assert detector.score_one(180.0, 10 * DAY_S + 18 * HOUR_S) > 1
    assert detector.score_one(180.0, 10 * DAY_S + 6 * HOUR_S) < 1


def test_weekends_are_usual_once_three_were_seen():
    found = unusual(detector := Seasonal(), traffic(42, weekend=0.3))
    assert found
    assert max(found) < 18 * DAY_S
    noon_s = 6 * HOUR_S
    assert detector.score_one(54.0, 44 * DAY_S + noon_s) < 1 < detector.score_one(54.0, 42 * DAY_S + noon_s)


def test_one_bad_day_changes_nothing_the_day_after():
    detector = Seasonal()
    unusual(detector, traffic(6))
    for stretch in range(48):
        detector.learn_one(1000.0, 6 * DAY_S + stretch * 1800.0)
    assert detector.score_one(100.0, 7 * DAY_S) < 1 < detector.score_one(1000.0, 7 * DAY_S)


def test_the_expected_range_follows_the_time_of_day():
    detector = Seasonal()
    unusual(detector, traffic(5))
    noon, night = (detector.expected(5 * DAY_S + hours * HOUR_S) for hours in (6, 18))
    assert night[1] < noon[0]
    assert noon[0] < 180 < noon[1]
