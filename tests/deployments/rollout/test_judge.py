"""A good version is good, a bad one bad and soon, and what nobody can judge is neither."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.rollout.analysis.judge import judge
from deployments.rollout.analysis.settings import AnalysisSettings
from deployments.rollout.analysis.verdict import Verdict
from deployments.rollout.evidence import Arm, Paired, Slice, Window, number_bins
from telemetry.slo.objective import Objective
from tests.deployments.rollout.seen import GOOD, Version, windows

SETTINGS = AnalysisSettings()


def seen(seconds: float, candidate: Version = GOOD, **how: Any) -> list[Window]:
    """What is seen of a candidate in so many seconds."""
    return list(islice(windows(candidate, **how), round(seconds / how.get("window_s", 2.0))))


def bad_signals(verdict: Verdict) -> set[str]:
    return {finding.signal for finding in verdict.findings if finding.kind == "bad"}


@pytest.mark.parametrize("seed", range(3))
def test_a_version_that_is_no_worse_is_good(seed: int) -> None:
    verdict = judge(seen(60, seed=seed), SETTINGS)
    assert verdict.kind == "good", verdict.findings


@pytest.mark.parametrize(
    ("signal", "candidate", "within_s"),
    [
        ("errors", Version(failed=0.05), 20),
        ("latency", Version(typical_s=0.02), 30),
        ("latency", Version(typical_s=0.015), 90),
        ("non_finite", Version(non_finite=0.05), 60),
        ("answers", Version(classes=(0.2, 0.3, 0.5)), 60),
        ("cpu", Version(cpu_s=0.03), 60),
        ("memory", Version(leak_bytes_per_s=200_000), 300),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_a_bad_version_is_bad_in_time(signal: str, candidate: Version, within_s: float, seed: int) -> None:
    verdict = judge(seen(within_s, candidate, seed=seed), SETTINGS)
    assert bad_signals(verdict) == {signal}, verdict.findings


def test_a_lost_agreement_with_the_teacher_is_bad_in_time() -> None:
    verdict = judge(seen(120, Version(missed=0.08), per_s=1000.0, compared_per_s=100.0), SETTINGS)
    assert bad_signals(verdict) == {"fidelity"}


def test_rows_that_both_answered_show_a_lost_agreement_with_fewer_of_them() -> None:
    paired = Paired(rows=100, same=95, judged=5, only_baseline=4, only_candidate=1)
    verdict = judge([replace(each, paired=paired) for each in _uncompared(seen(50))], SETTINGS)
    assert bad_signals(verdict) == {"fidelity"}


def test_rows_answered_otherwise_are_no_loss_where_the_teacher_agrees_as_often() -> None:
    paired = Paired(rows=100, same=80, judged=15, only_baseline=6, only_candidate=6, missed=5)
    assert judge([replace(each, paired=paired) for each in _uncompared(seen(60))], SETTINGS).kind == "good"


def test_a_teacher_that_never_judges_says_nothing_for_a_version_that_answers_otherwise() -> None:
    paired = Paired(rows=100, same=90, missed=10)
    verdict = judge([replace(each, paired=paired) for each in _uncompared(seen(60))], SETTINGS)
    assert (verdict.kind, "judged none of 300 rows" in verdict.text) == ("inconclusive", True), verdict.findings


def test_three_points_less_of_agreement_are_found_in_a_minute_of_fifty_rows_a_second() -> None:
    rng = np.random.default_rng(0)
    told = []
    for each in _uncompared(seen(60)):
        lost, won = rng.binomial(100, [0.05, 0.02])
        pairs = Paired(
            rows=100, same=100 - lost - won, judged=lost + won, only_baseline=int(lost), only_candidate=int(won)
        )
        told.append(replace(each, paired=pairs))
    assert bad_signals(judge(told, SETTINGS)) == {"fidelity"}


def test_numbers_that_move_are_bad_and_numbers_that_stay_are_not() -> None:
    def told(by: float) -> list[Window]:
        rng = np.random.default_rng(0)
        return [
            replace(
                each,
                baseline=replace(each.baseline, answers=Counter(number_bins(rng.normal(0, 10, 100)))),
                candidate=replace(each.candidate, answers=Counter(number_bins(rng.normal(by, 10, 100)))),
            )
            for each in _uncompared(seen(60))
        ]

    assert bad_signals(judge(told(6.0), SETTINGS)) == {"answers"}
    assert judge(told(0.0), SETTINGS).kind == "good"


def test_without_a_teacher_answers_that_change_are_a_loss_unless_they_may() -> None:
    told = [replace(each, paired=Paired(rows=40, same=39)) for each in _uncompared(seen(120))]
    assert bad_signals(judge(told, SETTINGS)) == {"fidelity"}
    assert judge(told, AnalysisSettings(most_changed=None)).kind == "good"


def test_a_version_that_is_good_on_average_and_bad_on_a_slice_is_bad() -> None:
    common, rare = Slice(requests=100, compared=100, agreed=97), Slice(requests=4, compared=4, agreed=4)
    told = [
        replace(
            each,
            baseline=replace(each.baseline, slices={"class=0": common, "class=7": rare}),
            candidate=replace(each.candidate, slices={"class=0": common, "class=7": replace(rare, agreed=2)}),
        )
        for each in seen(100)
    ]
    verdict = judge(told, SETTINGS)
    assert bad_signals(verdict) == {"slices"}
    assert "class=7" in verdict.text


def test_a_version_that_spends_the_error_budget_is_bad() -> None:
    answered = Objective(name="answered", service="*", share=0.99)
    fast = Objective(name="fast", service="*", share=0.999, latency_s=0.03)
    promised = AnalysisSettings(slos=(answered, fast), latency_margin=100.0)
    verdict = judge(seen(60, Version(typical_s=0.02)), promised)
    assert (bad_signals(verdict), "budget of fast" in verdict.text) == ({"slo"}, True)
    assert judge(seen(60), promised).kind == "good"


def test_a_fault_that_begins_after_an_hour_is_found_nearly_as_soon() -> None:
    good = list(islice(windows(window_s=10.0, per_s=100.0), 360))
    late = list(islice(windows(Version(typical_s=0.02, failed=0.05), first_s=3600.0), 20))
    assert judge(good, SETTINGS).kind == "good"
    assert bad_signals(judge(good + late, SETTINGS)) >= {"errors", "latency"}


def test_caches_that_fill_are_no_leak() -> None:
    verdict = judge(seen(300, seed=5), AnalysisSettings(settle_s=0.0))
    assert verdict.kind == "good", verdict.findings


def test_a_candidate_that_stalls_for_some_seconds_is_not_bad() -> None:
    steady = seen(200)
    stalled = [*steady[:50], *seen(6, Version(typical_s=1.0), seed=1), *steady[50:]]
    assert not bad_signals(judge(stalled, SETTINGS))


def test_a_slow_version_is_found_in_little_traffic_too() -> None:
    few = AnalysisSettings(least_requests=10)
    assert bad_signals(judge(seen(900, Version(typical_s=0.03), per_s=2.0, window_s=5.0), few)) == {"latency"}
    assert judge(seen(900, per_s=2.0, window_s=5.0), few).kind == "good"


def test_traffic_that_is_slow_for_both_says_nothing() -> None:
    told = list(islice(windows(Version(typical_s=0.05), Version(typical_s=0.05)), 30))
    assert judge([*seen(60), *told], SETTINGS).kind == "good"


BLINDED: dict[str, Callable[[Sequence[Window]], Sequence[Window]]] = {
    "nothing was seen": lambda _: (),
    "nothing was seen of the candidate": lambda each: [replace(w, candidate=Arm()) for w in each],
    "nothing was seen of the baseline": lambda each: [replace(w, baseline=Arm()) for w in each],
    "a process did not tell": lambda each: [replace(w, candidate=replace(w.candidate, asked=2)) for w in each],
    "the latest was cut short": lambda each: [*each[:-1], replace(each[-1], baseline=Arm())],
    "a process fell silent": lambda each: [
        *each[:-3],
        *(replace(w, baseline=replace(w.baseline, told=0)) for w in each[-3:]),
    ],
    "a number is none": lambda each: [replace(w, candidate=replace(w.candidate, cpu_s=math.nan)) for w in each],
    "a number is infinite": lambda each: [replace(w, baseline=replace(w.baseline, cpu_s=math.inf)) for w in each],
    "more errors than requests": lambda each: [replace(w, baseline=replace(w.baseline, errors=10**6)) for w in each],
    "a negative count": lambda each: [replace(w, candidate=replace(w.candidate, durations={0: -1})) for w in each],
    "no time went by": lambda each: [replace(w, end_s=w.start_s) for w in each],
    "a time that is none": lambda each: [replace(w, end_s=math.nan) for w in each],
    "no durations": lambda each: [replace(w, candidate=replace(w.candidate, durations={})) for w in each],
    "few requests": lambda each: each[:1],
}


@pytest.mark.parametrize("blinded", BLINDED)
def test_what_cannot_be_judged_is_inconclusive(blinded: str) -> None:
    verdict = judge(BLINDED[blinded](seen(60)), SETTINGS)
    assert verdict.kind == "inconclusive"
    assert verdict.findings[0].signal == "completeness"
    assert verdict.text


def test_a_process_that_tells_a_little_late_is_waited_for() -> None:
    told = seen(60)
    late = replace(told[-1], candidate=replace(Arm(), asked=1))
    assert judge([*told[:-1], late], SETTINGS).kind == "good"


def test_a_step_is_judged_by_its_own_requests() -> None:
    told = seen(60)
    assert judge(told, SETTINGS, since_s=56.0).kind == "inconclusive"
    assert judge(told, SETTINGS, since_s=20.0).kind == "good"


def test_rows_that_must_be_compared_and_were_not_are_inconclusive() -> None:
    verdict = judge(_uncompared(seen(60)), AnalysisSettings(least_compared=100))
    assert verdict.kind == "inconclusive"
    assert "compared" in verdict.text


COUNTS = st.integers(-2, 300)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[COUNTS] * 10, st.floats()), max_size=5))
def test_whatever_was_told_never_ends_in_an_error_nor_promotes_without_requests(drawn: list[tuple[float, ...]]) -> None:
    told = []
    for index, (asked, said, requests, errors, bin_, num, compared, agreed, rows, same, cpu_s) in enumerate(drawn):
        arm = Arm(
            asked=int(asked),
            told=int(said),
            requests=int(requests),
            errors=int(errors),
            durations={int(bin_): int(num)},
            compared=int(compared),
            agreed=int(agreed),
            cpu_s=cpu_s,
        )
        pairs = Paired(rows=int(rows), same=int(same))
        told.append(Window(start_s=index, end_s=index + cpu_s, baseline=arm, candidate=arm, paired=pairs))
    verdict = judge(told, SETTINGS)
    if verdict.kind == "good":
        assert sum(each.candidate.requests - each.candidate.errors for each in told) >= SETTINGS.least_requests


def _uncompared(told: Sequence[Window]) -> list[Window]:
    """The same without a teacher."""

    def without(arm: Arm) -> Arm:
        return replace(arm, compared=0, agreed=0)

    return [replace(each, baseline=without(each.baseline), candidate=without(each.candidate)) for each in told]
