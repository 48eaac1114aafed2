"""Tails: the fit against the distribution drawn from, both sides, windows without a tail."""

import math

import numpy as np
import pytest

from telemetry.detectors.tail import MOST_DIGITS, pareto, tail_of
from telemetry.detectors.window import SortedWindow


def window_of(values):
    window = SortedWindow(len(values))
    window.replace(values)
    return window


@pytest.mark.parametrize("shape", [0.0, 0.2, 0.4])
def test_the_fit_is_the_generalised_pareto_distribution_drawn_from(shape):
    uniform = np.random.default_rng(1).random(20_000)
    excesses = -np.log(uniform) if shape == 0 else (uniform**-shape - 1) / shape
    assert pareto(sorted((3 * excesses).tolist())) == pytest.approx((shape, 3.0), rel=0.1, abs=0.03)


@pytest.mark.parametrize("side", ["above", "below"])
def test_a_normal_numbers_improbability_is_the_normal_distributions(side):
    tail = tail_of(window_of(np.random.default_rng(0).normal(0, 1, 20_000).tolist()), 0.02, side)
    for deviations in (2.5, 3.0):
        p = math.erfc(deviations / math.sqrt(2)) / 2
        assert tail.improbability(deviations) == pytest.approx(-math.log10(p), rel=0.1)
    assert tail.improbability(1.0) == 0


def test_what_is_exceeded_with_a_rate_has_that_improbability():
    tail = tail_of(window_of(np.random.default_rng(0).lognormal(0, 1, 2000).tolist()), 0.05)
    assert tail.improbability(tail.exceeded_with(1e-6)) == pytest.approx(6)


def test_what_differs_from_equal_numbers_is_as_improbable_as_can_be():
    tail = tail_of(window_of([7.0] * 100), 0.05)
    assert tail.improbability(7.0) == 0
    assert tail.improbability(7.1) == MOST_DIGITS
    assert tail.exceeded_with(1e-6) == 7.0


def test_a_few_numbers_have_no_tail():
    assert tail_of(window_of([1.0, 2.0, 3.0]), 0.05) is None
