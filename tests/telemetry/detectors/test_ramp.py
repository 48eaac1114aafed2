"""Ramps: slow to fast, the sum's memory."""

import pytest

from telemetry.detectors.ramp import Ramp
from tests.telemetry.detectors.families import steady


def first_seen(detector, values):
    """The place of the first value that scores 1; what does is not learnt."""
    for place, x in enumerate(values):
        if detector.score_one(x, place * 60.0) >= 1:
            return place
        detector.learn_one(x, place * 60.0)
    return None


@pytest.mark.parametrize("rise", [0.5, 1.0, 2.0, 5.0, 20.0])
def test_a_ramp_is_seen_before_its_value_has_doubled(rise):
    """`rise` each minute on a level of 100 with a deviation of 5: from 200 minutes to five until it has doubled."""
    stream = steady("normal", 600)
    seen = first_seen(Ramp(), [x + max(0, place - 400) * rise for place, x in enumerate(stream)])
    assert 400 < seen <= 401 + 100 / rise


@pytest.mark.parametrize("rise", [1.0, 5.0])
def test_a_fall_is_seen_by_the_other_side(rise):
    stream = [x - max(0, place - 400) * rise for place, x in enumerate(steady("normal", 480))]
    assert first_seen(Ramp(), stream) is None
    assert first_seen(Ramp(side="below"), stream) > 400


def test_one_outlier_is_no_ramp():
    detector = Ramp()
    assert first_seen(detector, [*steady("normal", 300), 1e6, *steady("normal", 30)]) is None


def test_what_it_was_ends_it_and_what_it_became_does_not():
    detector = Ramp()
    stream = [x + max(0, place - 400) for place, x in enumerate(steady("normal", 600))]
    seen = first_seen(detector, stream)
    assert detector.score_one(stream[seen] + 5, 1e5) >= 1
    assert detector.score_one(100.0, 1e5) < 1
