import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from optimization.measuring import paired
from optimization.measuring.paired import Pairs
from optimization.recipe.recipe import Budget
from optimization.search import budget

COUNTS = st.tuples(st.integers(0, 40), st.integers(0, 40))
TRIALS = st.lists(st.tuples(st.none() | COUNTS, st.integers(1, 9).map(float)), min_size=1, max_size=8)


def pairs_of(counts: tuple[int, int] | None) -> Pairs | None:
    return None if counts is None else Pairs(num_lost=counts[0], num_won=counts[1], num_samples=1000)


@given(trials=TRIALS)
def test_no_cheaper_trial_is_proven_and_unfinished_ones_are_never_chosen(
    trials: list[tuple[tuple[int, int] | None, float]],
) -> None:
    assume(any(counts is not None for counts, _ in trials))
    pairs, costs = [pairs_of(counts) for counts, _ in trials], [cost for _, cost in trials]
    wanted = Budget(max_drop=0.02)
    chosen, within = budget.choose(pairs, costs, wanted), budget.proven(pairs, wanted)
    nearest = min(paired.p_value(each, 0.02) for each in pairs if each is not None)
    best = pairs[chosen]
    assert best is not None
    if any(within):
        assert within[chosen]
        assert costs[chosen] == min(cost for cost, each in zip(costs, within, strict=True) if each)
        assert paired.upper_bound(best) <= 0.02 + 1e-9, "by itself it is proven all the more"
    else:
        assert paired.p_value(best, 0.02) == nearest


def test_ten_trials_on_the_edge_of_the_budget_pass_as_seldom_as_one(random: np.random.Generator) -> None:
    """All lose exactly what is allowed: the chance that any is taken for less must stay within 5 %."""
    num_samples, won, wanted = 2000, 0.01, Budget(max_drop=0.02)
    tables = random.multinomial(num_samples, [won + 0.02, won, 0.96], size=(600, 10))
    fooled = [
        any(budget.proven([Pairs(num_lost=int(a), num_won=int(b), num_samples=num_samples) for a, b, _ in ten], wanted))
        for ten in tables
    ]
    assert np.mean(fooled) <= stats.binom.ppf(0.999, 600, 0.05) / 600


def test_a_good_point_estimate_on_few_examples_proves_nothing() -> None:
    few, many = (Pairs(num_lost=0, num_won=0, num_samples=num) for num in (100, 1000))
    assert budget.proven([few], Budget(max_drop=0.01)) == [False]
    assert budget.proven([many], Budget(max_drop=0.01)) == [True]


def test_examples_needed_are_enough_and_not_far_too_many() -> None:
    pairs, wanted = Pairs(num_lost=5, num_won=4, num_samples=599), Budget(max_drop=0.01)
    needed = budget.num_samples_needed(pairs, wanted, num_trials=4)
    assert needed is not None
    alike = Pairs(num_lost=round(5 * needed / 599), num_won=round(4 * needed / 599), num_samples=needed)
    assert paired.p_value(alike, 0.01) <= 0.05 / 4
    assert 599 < needed < 3000
    assert budget.num_samples_needed(Pairs(num_lost=9, num_won=1, num_samples=599), wanted, num_trials=1) is None


@pytest.mark.parametrize(("target", "expected"), [("latency", 1e-3), ("size", 500.0), ("cost", 0.016 / 32)])
def test_cost_is_what_the_target_says(target: str, expected: float) -> None:
    latency_s = {1: 1e-3, 32: 0.016}
    assert budget.cost(target, 1, size_bytes=500, latency_s=latency_s) == pytest.approx(expected)  # type: ignore[arg-type]
