import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from optimization.measuring import paired
from optimization.measuring.paired import Pairs


@st.composite
def some_pairs(draw: st.DrawFn) -> Pairs:
    num_samples = draw(st.integers(1, 2000))
    num_lost = draw(st.integers(0, num_samples))
    return Pairs(num_lost=num_lost, num_won=draw(st.integers(0, num_samples - num_lost)), num_samples=num_samples)


def test_interval_is_the_published_one() -> None:
    """Fagerland 2014 (Statistics in Medicine 33:2850): airway reactivity of 21 children, 1 and 7 of them discordant."""
    low, high = paired.interval(Pairs(num_lost=1, num_won=7, num_samples=21))
    assert (low, high) == pytest.approx((-0.517, -0.026), abs=5e-4)


@given(pairs=some_pairs(), drop=st.floats(-0.95, 0.95))
def test_variance_comes_from_the_likeliest_shares_with_that_drop(pairs: Pairs, drop: float) -> None:
    """The score's closed form against a search for the maximum of the multinomial likelihood."""
    rest = pairs.num_samples - pairs.num_lost - pairs.num_won

    def unlikelihood(won: float) -> float:
        shares = (won + drop, won, 1 - 2 * won - drop)
        counts = (pairs.num_lost, pairs.num_won, rest)
        return -sum(n * math.log(max(p, 1e-300)) for n, p in zip(counts, shares, strict=True) if n)

    least, most = max(0.0, -drop), (1 - drop) / 2
    won = float(optimize.minimize_scalar(unlikelihood, bounds=(least, most), options={"xatol": 1e-12}).x)
    deviation = math.sqrt((2 * won + drop - drop**2) / pairs.num_samples)
    assert paired.score(pairs, drop) == pytest.approx((pairs.drop - drop) / deviation, rel=1e-3, abs=1e-3)


@given(pairs=some_pairs())
def test_without_an_allowed_drop_it_is_mcnemars_test(pairs: Pairs) -> None:
    discordant = pairs.num_lost + pairs.num_won
    expected = (pairs.num_lost - pairs.num_won) / math.sqrt(discordant) if discordant else 0
    assert paired.score(pairs, 0) == pytest.approx(expected)


@given(pairs=some_pairs(), confidence=st.floats(0.6, 0.999))
def test_upper_bound_and_p_value_say_the_same(pairs: Pairs, confidence: float) -> None:
    bound = paired.upper_bound(pairs, confidence)
    assert pairs.drop <= bound
    if bound < 1 - 1e-9:
        assert paired.p_value(pairs, bound) == pytest.approx(1 - confidence, abs=1e-6)
        assert paired.p_value(pairs, bound + 0.5 * (1 - bound)) < 1 - confidence


@given(pairs=some_pairs())
def test_swapping_the_models_turns_the_interval_round(pairs: Pairs) -> None:
    swapped = Pairs(num_lost=pairs.num_won, num_won=pairs.num_lost, num_samples=pairs.num_samples)
    low, high = paired.interval(pairs)
    assert paired.interval(swapped) == pytest.approx((-high, -low))


def test_a_model_that_loses_the_budget_is_passed_at_most_as_often_as_promised(random: np.random.Generator) -> None:
    max_drop, won, num_samples = 0.02, 0.01, 600
    tables = random.multinomial(num_samples, [won + max_drop, won, 1 - 2 * won - max_drop], size=4000)
    passed = [
        paired.p_value(Pairs(num_lost=int(lost), num_won=int(gained), num_samples=num_samples), max_drop) <= 0.05
        for lost, gained, _ in tables
    ]
    assert np.mean(passed) <= stats.binom.ppf(0.999, 4000, 0.055) / 4000


def test_pairs_count_what_only_one_gets_right() -> None:
    labels = np.array([0, 1, 2, 0, 1])
    pairs = Pairs.of(np.array([0, 1, 2, 1, 0]) == labels, np.array([0, 0, 0, 0, 0]) == labels)
    assert (pairs.num_lost, pairs.num_won, pairs.num_samples) == (2, 1, 5)
    assert pairs.drop == pytest.approx(0.2)


def test_holm_is_the_published_procedure() -> None:
    """Holm 1979: the smallest of n is held to level/n, the next to level/(n-1), until one fails."""
    assert paired.holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert paired.holm([0.012, 0.02, 0.025, 0.04], 0.05) == [True, False, False, False]
    assert paired.holm([], 0.05) == []


@given(p_values=st.lists(st.floats(0, 1), max_size=12), level=st.floats(0.01, 0.2))
def test_holm_lies_between_bonferroni_and_no_correction(p_values: list[float], level: float) -> None:
    stands = paired.holm(p_values, level)
    for each, p_value in zip(stands, p_values, strict=True):
        assert each or p_value > level / len(p_values)
        assert not each or p_value <= level
