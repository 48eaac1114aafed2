"""Drops of rates and counts."""

import numpy as np
import pytest

from telemetry.detectors.detector import DetectorError
from telemetry.detectors.drop import Drop
from tests.telemetry.detectors.families import scores


@pytest.mark.parametrize("mean", [20.0, 200.0, 5000.0])
def test_an_outage_is_seen_and_a_rise_or_a_small_fall_is_not(mean):
    detector = Drop()
    scores(detector, np.random.default_rng(0).poisson(mean, 400).tolist())
    assert detector.score_one(0.0, 400.0) > 1
    assert detector.score_one(0.8 * mean, 400.0) < 1
    assert detector.score_one(3 * mean, 400.0) == 0


def test_a_fall_to_less_than_half_is_seen_where_counts_are_large():
    detector = Drop()
    scores(detector, np.random.default_rng(1).poisson(2000, 400).tolist())
    assert detector.score_one(950.0, 400.0) > 1


def test_a_negative_count_is_refused():
    with pytest.raises(DetectorError, match="at least 0, got -1"):
        Drop().score_one(-1.0, 0.0)
