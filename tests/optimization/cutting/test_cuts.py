"""Where to cut: balance first, then bytes, against every cut there is."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from optimization.cutting.cuts import SLACK, Segment, best
from optimization.errors import CutError


def segments(*seconds, weights=None):
    weights = weights or [{f"w{number}": 1} for number in range(len(seconds))]
    return [Segment(seconds=each, weights=own) for each, own in zip(seconds, weights, strict=True)]


def slowest(seconds, places):
    return max(sum(seconds[start:end]) for start, end in pairwise([0, *(at + 1 for at in places), len(seconds)]))


def test_equal_layers_are_cut_in_the_middle():
    assert best(segments(*[1.0] * 6), [10] * 5, 2) == (2,)
    assert best(segments(*[1.0] * 6), [10] * 5, 3) == (1, 3)


def test_among_cuts_that_are_hardly_slower_the_one_that_moves_least_is_taken():
    """Places 2 and 3 differ by a measurement's error."""
    assert best(segments(1, 1, 1, 0.05, 1, 1, 1), [9, 9, 400, 100, 9, 9], 2) == (3,)


def test_few_bytes_do_not_buy_a_stage_that_is_slower():
    assert best(segments(1, 1, 1, 1), [1, 1000, 1], 2) == (1,)


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_no_other_cut_is_better(stages):
    random = np.random.default_rng(stages)
    for _ in range(20):
        seconds, moved = random.uniform(0.1, 3, 9).tolist(), random.integers(1, 9, 8).tolist()
        every = list(combinations(range(8), stages - 1))
        limit = min(slowest(seconds, places) for places in every) * (1 + SLACK)
        fast = [places for places in every if slowest(seconds, places) <= limit]
        least = min(sum(moved[at] for at in places) for places in fast)
        found = best(segments(*seconds), moved, stages)
        assert found in fast
        assert sum(moved[at] for at in found) == least


def test_a_stage_has_no_more_weights_than_it_may():
    """The embedding takes no time and most of the memory; a weight that two segments share counts once."""
    weights = [{"table": 80}, {"a": 30}, {"a": 30, "b": 10}, {"c": 30}]
    assert best(segments(0, 1, 1, 1, weights=weights), [1, 1, 1], 2) == (1,)
    assert best(segments(0, 1, 1, 1, weights=weights), [1, 1, 1], 2, max_weights=80) == (0,)


@pytest.mark.parametrize(("stages", "got"), [(-1, "-1"), (0, "0"), (1, "1"), (4, "4")])
def test_a_number_of_stages_that_cannot_be_is_refused(stages, got):
    with pytest.raises(CutError, match=f"stages must lie between 2 and 3, .* cut at 2 places, got {got}"):
        best(segments(1, 1, 1), [1, 1], stages)


def test_a_graph_without_a_place_to_cut_is_refused():
    with pytest.raises(CutError, match="must have a place to cut it at"):
        best(segments(1), [], 2)


def test_weights_that_no_cut_makes_fit_are_refused():
    with pytest.raises(CutError, match=r"--max-weights must let 2 stages hold the weights, got 79 bytes"):
        best(segments(0, 1, 1, weights=[{"table": 80}, {"a": 1}, {"b": 1}]), [1, 1], 2, max_weights=79)
