"""The sequential two-proportion test against what is known of it otherwise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from deployments.rollout.analysis import bets
from deployments.rollout.analysis.proportions import above, excess
from telemetry.fidelity.confidence_sequence import interval

SHARES = st.floats(0.0, 0.6)
TRIALS = st.integers(1, 5000)


@pytest.mark.parametrize("margin", [0.0, 0.01])
def test_evidence_is_the_least_over_all_shares_that_keep_the_margin(margin: float) -> None:
    k, n, j, m = 30, 400, 60, 3000
    base = np.linspace(1e-6, 1 - margin - 1e-6, 200_001)
    ours, theirs = stats.binom.logpmf(k, n, base + margin), stats.binom.logpmf(j, m, base)
    mixed = stats.betabinom.logpmf(k, n, 0.5, 0.5) + stats.betabinom.logpmf(j, m, 0.5, 0.5)
    assert float(excess((k, n, j, m), margin)) == pytest.approx(float((mixed - ours - theirs).min()), abs=1e-5)


def test_evidence_grows_as_half_the_square_of_the_score_statistic() -> None:
    """Wilks' theorem; the score statistic is that of statsmodels' `proportions_ztest`: pooled variance."""

    def z(k: float, n: float, j: float, m: float) -> float:
        pooled = (k + j) / (n + m)
        return (k / n - j / m) / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))

    small, large = (np.array([0.055, 1, 0.05 * 9, 9]) * size for size in (100_000, 1_000_000))
    gained = float(excess(large, 0.0) - excess(small, 0.0))
    penalty = 2 * 0.5 * math.log(10)  # of the mixture: half a logarithm of the trials for each share
    assert gained == pytest.approx((z(*large) ** 2 - z(*small) ** 2) / 2 - penalty, rel=0.05)


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 20), (90, 1000)])
def test_a_share_lies_above_what_its_confidence_sequence_excludes(hits: int, trials: int) -> None:
    low, _ = interval(hits, trials, alpha=0.01)
    if low > 0:
        assert float(above((hits, trials), low)) == pytest.approx(math.log(100), abs=1e-3)
    assert float(above((hits, trials), 0.999)) == 0.0


@settings(max_examples=60, deadline=None)
@given(TRIALS, SHARES, TRIALS, SHARES, st.floats(0.0, 0.3))
def test_evidence_is_never_negative_nor_for_a_smaller_share(
    n: int, share: float, m: int, base: float, margin: float
) -> None:
    k, j = round(share * n), round(base * m)
    found = float(excess((k, n, j, m), margin))
    assert found >= 0
    if k / n <= j / m + margin:
        assert found == 0.0


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (3, 10, 0, 0), (0, 0, 3, 10), (10, 10, 10, 10)])
def test_nothing_is_proven_without_trials_of_both(counts: tuple[int, ...]) -> None:
    assert float(excess(counts, 0.0)) == 0.0


def test_looking_always_calls_equal_shares_different_no_more_often_than_said() -> None:
    rng = np.random.default_rng(3)
    alarmed = 0
    for _ in range(400):
        ours, theirs = rng.binomial(20, 0.05, 200).cumsum(), rng.binomial(180, 0.05, 200).cumsum()
        looks = np.arange(1, 201)
        found = excess(np.stack([ours, 20 * looks, theirs, 180 * looks], axis=1), 0.0)
        alarmed += bool(found.max() >= math.log(1 / 0.1))
    assert alarmed <= 0.1 * 400


def test_bets_on_pairs_never_expect_to_win_at_the_margin() -> None:
    """All counts of 12 rows, by their chance: the mean wealth is at most 1."""
    worse, better, margin, rows = 0.15, 0.10, 0.05, 12
    mean = 0.0
    for lost in range(rows + 1):
        for won in range(rows + 1 - lost):
            chance = stats.multinomial.pmf([lost, won, rows - lost - won], rows, [worse, better, 1 - worse - better])
            nats = bets.wealth(bets.paired_gains((lost, won, rows), margin))
            mean += float(chance * np.exp(nats))
    assert mean == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.02, 0.6), st.integers(0, 10**6))
def test_bets_on_a_bounded_number_never_expect_to_win(mean: float, seed: int) -> None:
    numbers = np.random.default_rng(seed).beta(2, 2 / mean - 2, 2000)
    won = np.exp(bets.gains(numbers, np.full(2000, numbers.mean())))
    assert (won.mean(axis=0) <= 1 + 1e-9).all()
