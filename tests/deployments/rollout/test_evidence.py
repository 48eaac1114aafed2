"""Counts of both versions add up over replicas and come back from JSON as they went."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.rollout.evidence import (
    MOST_KINDS,
    Arm,
    Paired,
    Slice,
    Window,
    arm_json,
    arm_of,
    coarsened,
    duration_bin,
    duration_of,
    total,
    windows_json,
    windows_of,
)

COUNTS = st.integers(0, 10**6)
SLICES = st.builds(Slice, requests=COUNTS, errors=COUNTS, compared=COUNTS, agreed=COUNTS)
NAMES = st.sampled_from(["a", "b", "class=3"])
ARMS = st.builds(
    Arm,
    asked=COUNTS,
    told=COUNTS,
    requests=COUNTS,
    errors=COUNTS,
    durations=st.dictionaries(st.integers(-200, 80), COUNTS, max_size=4),
    compared=COUNTS,
    agreed=COUNTS,
    answers=st.dictionaries(NAMES, COUNTS),
    checked=COUNTS,
    non_finite=COUNTS,
    cpu_s=st.integers(0, 1000).map(float),
    slices=st.dictionaries(NAMES, SLICES),
)


@settings(max_examples=30, deadline=None)
@given(ARMS, ARMS, ARMS)
def test_arms_add_up_in_any_order(one: Arm, two: Arm, three: Arm) -> None:
    assert total([one, two, three]) == one + (two + three) == total([three, one, two])


@settings(max_examples=30, deadline=None)
@given(ARMS, ARMS)
def test_windows_come_back_from_json_as_they_went(baseline: Arm, candidate: Arm) -> None:
    paired = Paired(rows=6, same=3, judged=2, only_baseline=1, missed=1)
    window = Window(start_s=1.0, end_s=6.0, baseline=baseline, candidate=candidate, paired=paired)
    assert windows_of(windows_json((window,))) == (window,)
    assert arm_of(arm_json(candidate)) == candidate


def test_evidence_of_days_is_some_hundreds_of_windows_and_loses_no_request() -> None:
    kept: list[Window] = []
    for number in range(2000):
        arm = Arm(asked=1, told=1, requests=1)
        kept = coarsened([*kept, Window(start_s=2.0 * number, end_s=2.0 * (number + 1), candidate=arm)])
    assert len(kept) <= 100 * 5
    assert sum(window.candidate.requests for window in kept) == 2000
    assert all(one.end_s == other.start_s for one, other in itertools.pairwise(kept))
    assert {window.end_s - window.start_s for window in kept[-100:]} == {2.0}


def test_clients_that_name_ever_new_kinds_make_no_evidence_grow_and_the_largest_kinds_stay() -> None:
    windows = [
        Window(
            start_s=float(at),
            end_s=at + 1.0,
            candidate=Arm(requests=3, slices={"app=phone": Slice(requests=2), f"new={at}": Slice(requests=1)}),
            paired_slices={"app=phone": Paired(rows=2), f"new={at}": Paired(rows=1)},
        )
        for at in range(5000)
    ]
    for kept in coarsened(windows):
        assert len(kept.candidate.slices) <= MOST_KINDS
        assert len(kept.paired_slices) <= MOST_KINDS
    whole = total(each.candidate for each in coarsened(windows))
    assert len(whole.slices) == MOST_KINDS
    assert whole.slices["app=phone"].requests == 10_000


def test_a_text_cut_short_is_no_evidence() -> None:
    text = arm_json(Arm(requests=10, errors=3))
    with pytest.raises(ValueError, match="JSON"):
        arm_of(text[:-4])


def test_a_number_that_is_none_stays_so_for_the_analysis_to_see() -> None:
    arm = Arm(cpu_s=math.nan)
    assert math.isnan(arm_of(arm_json(arm)).cpu_s)
    (window,) = windows_of(windows_json((Window(start_s=0.0, end_s=math.inf, candidate=arm),)))
    assert math.isnan(window.candidate.cpu_s)
    assert window.end_s == math.inf


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 1e4))
def test_a_duration_lies_in_its_bin(seconds: float) -> None:
    index = duration_bin(seconds)
    assert duration_of(index - 1) * (1 - 1e-9) < seconds <= duration_of(index) * (1 + 1e-9)
