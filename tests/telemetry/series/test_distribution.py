"""Bucket counts against numpy's own quantiles."""

import math

import numpy as np
import pytest

from telemetry.conventions import REQUEST_DURATION
from telemetry.series.distribution import ZERO_BUCKET, Buckets, Distribution

BOUNDS = REQUEST_DURATION.boundaries


def explicit(values, bounds=BOUNDS):
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds) + 1)
    return Buckets(counts={i: int(c) for i, c in enumerate(counts) if c}, total=float(np.sum(values)), bounds=bounds)


def exponential(values, scale):
    indices = np.ceil(np.log2(values) * 2.0**scale).astype(int) - 1
    index, counts = np.unique(indices, return_counts=True)
    pairs = zip(index.tolist(), counts.tolist(), strict=True)
    return Buckets(counts=dict(pairs), total=float(np.sum(values)), scale=scale)


def quantiles(*parts, fractions=(0.5, 0.95, 0.99)):
    distribution = Distribution()
    for part in parts:
        distribution.add(part)
    return distribution.quantiles(*fractions)


@pytest.fixture
def durations():
    return np.random.default_rng(0).lognormal(math.log(0.004), 0.8, 20_000)


def test_explicit_quantiles_lie_in_the_bucket_of_numpys_quantile(durations):
    for got, exact in zip(quantiles(explicit(durations)), np.quantile(durations, (0.5, 0.95, 0.99)), strict=True):
        assert np.searchsorted(BOUNDS, got) == np.searchsorted(BOUNDS, exact)


def test_evenly_spread_values_give_numpys_quantiles():
    values = np.linspace(0, 10, 100_001)[1:]
    bounds = tuple(float(b) for b in range(1, 11))
    assert quantiles(explicit(values, bounds)) == pytest.approx(np.quantile(values, (0.5, 0.95, 0.99)), rel=1e-3)


def test_exponential_quantiles_are_as_exact_as_their_scale(durations):
    expected = np.quantile(durations, (0.5, 0.95, 0.99))
    assert quantiles(exponential(durations, scale=5)) == pytest.approx(expected, rel=2**2**-5 - 1)


def test_different_layouts_add_up(durations):
    half = len(durations) // 2
    mixed = quantiles(explicit(durations[:half]), exponential(durations[half:], scale=4))
    assert mixed == pytest.approx(np.quantile(durations, (0.5, 0.95, 0.99)).tolist(), rel=0.25)


def test_instances_add_up_to_the_whole(durations):
    whole = quantiles(explicit(durations))
    assert quantiles(explicit(durations[::2]), explicit(durations[1::2])) == pytest.approx(whole)


def test_values_beyond_the_last_bound_count_as_the_last_bound():
    assert quantiles(explicit(np.full(10, 99.0))) == [BOUNDS[-1]] * 3


def test_nothing_has_no_quantile():
    assert all(math.isnan(q) for q in quantiles())
    assert math.isnan(Distribution().mean())


def test_zeros_of_an_exponential_histogram_are_zeros():
    assert quantiles(Buckets(counts={ZERO_BUCKET: 9, 0: 1}, total=1.5), fractions=(0.5,)) == [0.0]


def test_difference_is_what_came_on_top(durations):
    added = explicit(durations).since(explicit(durations[:5000]))
    assert added is not None
    assert added.counts == explicit(durations[5000:]).counts


def test_difference_survives_a_coarser_scale(durations):
    added = exponential(durations, scale=3).since(exponential(durations[:5000], scale=5))
    assert added is not None
    assert added.num_values == 15_000
    assert added.counts == exponential(durations[5000:], scale=3).counts


@pytest.mark.parametrize("before", [lambda v: explicit(v), lambda v: explicit(v[:5], (1.0, 2.0))])
def test_fewer_counts_or_other_bounds_are_a_reset(durations, before):
    assert explicit(durations[:10]).since(before(durations)) is None
