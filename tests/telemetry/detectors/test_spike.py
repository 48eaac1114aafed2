"""Spikes: the tail's fit against known distributions, drift."""

import math

import numpy as np
import pytest

from telemetry.detectors.spike import Spike, exceeded_with
from tests.telemetry.detectors.families import scores, steady


@pytest.mark.parametrize("shape", [0.0, 0.2, 0.4])
def test_the_fitted_tail_is_the_generalised_pareto_distribution_drawn_from(shape):
    uniform = np.random.default_rng(1).random(20_000)
    excesses = -np.log(uniform) if shape == 0 else (uniform**-shape - 1) / shape
    expected = math.log(1000) if shape == 0 else (1000**shape - 1) / shape
    assert exceeded_with(1e-4, 0.1, sorted(excesses.tolist())) == pytest.approx(expected, rel=0.1)


def test_no_tail_and_equal_excesses_have_a_limit():
    assert exceeded_with(1e-4, 0.1, []) == 0.0
    assert exceeded_with(1e-4, 0.1, [2.0] * 30) >= 2.0


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
