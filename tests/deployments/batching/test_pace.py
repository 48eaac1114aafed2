"""The learned cost of a batch against numpy's least squares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.batching import pace as module
from deployments.batching.pace import Pace


def learned(points):
    pace = Pace()
    for work, duration_s in points:
        pace.learn(work, duration_s)
    return pace


@given(st.lists(st.tuples(st.integers(1, 512), st.floats(1e-3, 1)), min_size=3, max_size=40))
def test_the_line_is_the_weighted_least_squares_fit_wherever_that_is_not_negative(points):
    works, durations = map(np.array, zip(*points, strict=True))
    if len(set(works)) < 3:
        return
    weights = module.MEMORY ** np.arange(len(points))[::-1]
    slope, start = np.polyfit(works, durations, 1, w=np.sqrt(weights))
    if slope > 0 and start > 0:
        assert learned(points).line() == pytest.approx((slope, start), rel=1e-4, abs=1e-7)


@given(st.lists(st.tuples(st.integers(1, 512), st.floats(1e-6, 1)), max_size=40), st.integers(1, 512))
def test_predictions_are_never_negative_and_never_fall_with_work(points, work):
    pace = learned(points)
    assert 0 <= pace.duration_s(work) <= pace.duration_s(work + 1)


def test_it_forgets_what_a_batch_cost_long_ago():
    pace = learned([(n, 0.001 * n) for n in (1, 8, 64)] * 50 + [(n, 0.010 * n) for n in (1, 8, 64)] * 50)
    assert pace.duration_s(32) == pytest.approx(0.32, rel=0.01)


def test_the_most_work_within_a_limit_takes_that_long():
    pace = learned([(n, 0.002 + 0.001 * n) for n in (1, 2, 4, 8)])
    assert pace.most_within(0.05) == pytest.approx(48)
    assert pace.most_within(0.001) == 0
