"""Spikes: drift, and the weight of the tail."""

from telemetry.detectors.spike import Spike
from tests.telemetry.detectors.families import scores, steady


def test_a_spike_is_seen_and_drift_is_not():
    detector = Spike()
    drifting = [x + place / 20 for place, x in enumerate(steady("normal", 3000))]
    assert sum(score >= 1 for score in scores(detector, drifting)) <= 3
    assert detector.score_one(drifting[-1] + 60, 3000.0) > 1


def test_the_limit_follows_the_weight_of_the_tail():
    light, heavy = Spike(), Spike()
    scores(light, steady("normal", 2000))
    scores(heavy, steady("heavy-tailed", 2000))
    assert heavy.score_one(135.0, 2000.0) < 1 < light.score_one(135.0, 2000.0)
