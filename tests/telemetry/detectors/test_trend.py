"""Trends: the slope against scipy's, outliers, when a limit is reached."""

import numpy as np
import pytest

from telemetry.detectors.trend import Trend
from tests.telemetry.detectors.families import scores, steady


def test_the_slope_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    values = np.array(steady("skewed", 41)) + 0.1 * np.arange(41)
    detector = Trend(window_s=4100.0, num_points=41)
    scores(detector, values.tolist(), pace_s=100.0)
    expected = stats.theilslopes(values[:-1], 100.0 * np.arange(40)).slope
    assert detector.slope() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("per_s", [2.0**13, 2.0**17, 2.0**23])
def test_a_leak_is_seen_and_when_memory_will_be_full_is_told(per_s):
    """From 8 KiB/s, which is 29 MiB an hour, on 200 MiB."""
    mib = 2.0**20
    noise = np.random.default_rng(0).normal(0, 0.5 * mib, 360)
    memory = (200 * mib + noise + per_s * 10 * np.arange(360)).tolist()
    detector = Trend(window_s=3600.0)
    assert max(scores(detector, memory, pace_s=10.0)) >= 1
    assert detector.slope() == pytest.approx(per_s, rel=0.1)
    left_s = detector.seconds_until(memory[-1] + 1000 * per_s)
    assert left_s == pytest.approx(1000, rel=0.3)
    assert detector.seconds_until(0.0) is None


def test_a_step_back_to_the_start_ends_it_without_learning():
    detector = Trend(window_s=3600.0)
    scores(detector, [100 + place / 10 for place in range(360)], pace_s=10.0)
    assert detector.score_one(136.0, 20_000.0) >= 1
    assert detector.score_one(100.0, 20_000.0) < 1


def test_outliers_of_a_fifth_do_not_move_the_slope():
    values = [place / 10 + (1000 if place % 50 < 10 else 0) for place in range(400)]
    detector = Trend(window_s=4000.0)
    scores(detector, values, pace_s=10.0)
    assert detector.slope() == pytest.approx(0.01, rel=0.5)


def test_before_there_is_a_line_there_is_no_slope():
    detector = Trend()
    detector.learn_one(1.0, 0.0)
    assert detector.slope() is None
    assert detector.seconds_until(5.0) is None
