"""The test that a drift is found by."""

import json
import math

import numpy as np
import pytest
from scipy.stats import norm

from telemetry.drift import starts
from telemetry.drift.alternatives import of_categories, of_levels, of_losses
from telemetry.drift.change_test import FORGET_EVERY, ChangeTest
from telemetry.drift.distances import shares
from tests.telemetry.drift.binned import binned, edges_of

NEEDED = math.log(1 / 0.01)


def _test(counts) -> ChangeTest:
    return ChangeTest(counts, of_levels(shares(counts)))


@pytest.mark.parametrize("num_reference", [200, 2000])
def test_a_stationary_stream_is_never_called_changed_however_often_one_looks(num_reference):
    random = np.random.default_rng(1)
    for _ in range(8):
        reference = random.normal(size=num_reference)
        edges = edges_of(reference)
        test = _test(binned(reference, edges))
        true = np.diff(norm.cdf(np.concatenate([[-np.inf], edges, [np.inf]])))
        highest = -math.inf
        for _ in range(400):
            test.take(random.multinomial(1000, true))
            highest = max(highest, test.evidence)
        assert highest < NEEDED


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_a_shift_by_one_standard_deviation_is_found_within_100_rows_after_a_million(shift):
    random = np.random.default_rng(2)
    reference = random.gamma(4.0, size=1000)  # no normal distribution
    edges = edges_of(reference)
    test = _test(binned(reference, edges))
    for _ in range(1000):
        test.take(binned(random.gamma(4.0, size=1000), edges))
    rows = 0
    while test.evidence < NEEDED:
        test.take(binned(random.gamma(4.0, size=10) + shift * 2.0, edges))
        rows += 10
    assert rows <= 100


def test_bins_that_stay_empty_as_they_were_are_no_change_however_many_they_are():
    reference = np.array([300, 150, 50] + [0] * 20)
    random, test = np.random.default_rng(6), ChangeTest(reference, of_categories(shares(reference)))
    for _ in range(500):
        test.take(random.multinomial(20_000, reference / 500))  # ten million rows
        assert test.evidence < NEEDED


def test_what_is_told_of_a_change_are_the_rows_since_it_began():
    random = np.random.default_rng(3)
    reference = random.normal(size=2000)
    edges = edges_of(reference)
    test = _test(binned(reference, edges))
    for _ in range(200):
        test.take(binned(random.normal(size=50), edges))
    for _ in range(4):
        test.take(binned(random.normal(2.0, size=50), edges))
    assert 150 <= test.counts_since.sum() <= 250


def test_a_test_that_is_restored_goes_on_as_if_it_had_never_stopped():
    random = np.random.default_rng(4)
    counts = np.full(10, 50)
    going, stopped = _test(counts), _test(counts)
    lots = [random.multinomial(30, shares(counts)) for _ in range(40)]
    for lot in lots[:20]:
        going.take(lot)
        stopped.take(lot)
    restored = _test(counts)
    restored.restore(json.loads(json.dumps(stopped.state())))
    for lot in lots[20:]:
        going.take(lot)
        restored.take(lot)
    assert restored.evidence == pytest.approx(going.evidence)
    assert restored.counts_since.tolist() == going.counts_since.tolist()


def test_fewer_bad_rows_than_the_reference_has_are_no_loss():
    test = ChangeTest([900, 100], of_losses(shares([900, 100])))
    for _ in range(100):
        test.take([100, 0])
    assert test.evidence < NEEDED


def test_memory_grows_with_the_logarithm_of_the_rows():
    test = _test(np.full(4, 100))
    for _ in range(1500):
        test.take([10, 10, 10, 10])
    assert len(test.state()["places"]) <= starts.PER_OCTAVE * math.log2(1500) + 1 + FORGET_EVERY


def test_bets_on_all_places_are_no_more_than_one():
    assert sum(map(starts.weight, range(100_000))) + 1 / math.log(100_000) / 2.1 <= 1.001


def test_a_reference_without_rows_is_refused():
    with pytest.raises(ValueError, match="a reference must have rows in two bins or more"):
        _test(np.zeros(4))
