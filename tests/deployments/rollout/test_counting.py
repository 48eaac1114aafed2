"""What a replica counts of a rollout, and how the counts of several are put together."""

import numpy as np
import pytest

from deployments.rollout.analysis import soundness
from deployments.rollout.analysis.behaviour import slices
from deployments.rollout.analysis.settings import AnalysisSettings
from deployments.rollout.answered import alike, rows_of
from deployments.rollout.counting import KEPT, Counting
from deployments.rollout.evidence import (
    MOST_KINDS,
    NUMBER_BINS,
    Paired,
    bin_start,
    number_bins,
    windows_json,
    windows_of,
)
from deployments.rollout.gathering import gathered


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def classifier(tiny_artifact):
    """Its manifest, which says that its output is probabilities."""
    (output,) = tiny_artifact.manifest.outputs
    return tiny_artifact.manifest.model_copy(
        update={"outputs": (output.model_copy(update={"meaning": "probabilities"}),)}
    )


def test_answers_that_are_no_numbers_are_counted(clock, classifier):
    counting = Counting("candidate", "p", 1.0, clock)
    for value in (1.0, np.nan, np.inf):
        counting.see(classifier, {}, {"probabilities": np.array([[value, 0, 0]], np.float32)})
    clock.now_s += 1
    (seen,) = counting.over()
    assert (seen.candidate.checked, seen.candidate.non_finite) == (3, 2)


def test_rows_that_both_answer_are_counted_by_the_class_that_the_baseline_gave(clock, classifier):
    def answered(*classes):
        return rows_of(classifier, {"probabilities": np.eye(3, dtype=np.float32)[list(classes)]})

    counting = Counting("baseline", "p", 1.0, clock)
    counting.pair(answered(0, 0, 1), answered(0, 2, 1))
    counting.pair(answered(1), answered(2))
    clock.now_s += 1
    (seen,) = counting.over()
    assert (seen.paired.rows, seen.paired.same) == (4, 2)
    assert {kind: (each.rows, each.same) for kind, each in seen.paired_slices.items()} == {
        "class=0": (2, 1),
        "class=1": (2, 1),
    }


def test_the_teacher_says_whom_it_agrees_with_where_both_answer_otherwise(clock, classifier):
    def answered(*classes):
        return rows_of(classifier, {"probabilities": np.eye(3, dtype=np.float32)[list(classes)]})

    counting = Counting("baseline", "p", 1.0, clock)
    counting.pair(answered(0, 0, 1, 1), answered(0, 2, 2, 0), np.array([0, 2, 2]), has_teacher=True)
    counting.pair(answered(1, 1), answered(1, 2), has_teacher=True)
    clock.now_s += 1
    (seen,) = counting.over()
    assert seen.paired == Paired(rows=6, same=2, judged=3, only_baseline=1, only_candidate=1, missed=2)
    assert seen.paired_slices["class=1"] == Paired(rows=4, same=1, judged=2, only_candidate=1, missed=2)
    assert soundness.fault(seen) is None


def test_a_version_that_fails_for_one_kind_of_requests_is_told_and_kinds_are_bounded(clock):
    seen = []
    for _ in range(10):
        counting = Counting("baseline", "p", 1.0, clock)
        for number in range(200):
            counting.sent("baseline", has_failed=False, kinds=["long"] if number % 50 == 0 else [str(number)])
            counting.sent("candidate", has_failed=number % 50 == 0, kinds=["long"] if number % 50 == 0 else [])
        clock.now_s += 1
        seen += counting.over()
    assert len(seen[0].baseline.slices) == MOST_KINDS
    found = slices(seen, AnalysisSettings(), needed_nats=8.0)
    assert (found.kind, found.text) == ("bad", "long, failed: 100.00% of 40 requests, baseline 0.00% of 40")


def test_numbers_are_counted_by_bins_of_either_sign():
    values = [0.0, 1e-9, 1.0, 1.02, 2.0, -2.0, np.nan, np.inf, 1e300, -1e300]
    names = number_bins(np.array(values))
    places = [int(name.removeprefix("number=")) for name in names]
    assert places[:2] == [0, 0]
    assert places[4] - places[2] == 8
    assert places[5] == -places[4]
    assert places[-2:] == [NUMBER_BINS, -NUMBER_BINS]
    assert len(places) == 8
    assert all(bin_start(place) <= value for place, value in zip(places[2:5], (1.0, 1.02, 2.0), strict=True))


def test_numbers_are_alike_within_a_hundredth():
    one = {"y": np.array([[1.0], [2.0], [np.nan], [0.0]], np.float32)}
    other = {"y": np.array([[1.005], [2.1], [np.nan], [0.0001]], np.float32)}
    assert alike(one, other).tolist() == [True, False, False, True]
    assert alike(one, {"z": one["y"]}).tolist() == [False] * 4
    assert alike({"t": np.array([[b"a"], [b"b"]], object)}, {"t": np.array([[b"a"], [b"c"]], object)}).tolist() == [
        True,
        False,
    ]


def test_windows_that_are_over_change_no_more_and_the_last_are_kept(clock):
    counting = Counting("baseline", "p", 1.0, clock)
    for _ in range(2 * KEPT):
        counting.sent("baseline", has_failed=False)
        counting.took(0.01)
        clock.now_s += 1
        before = counting.over()
        assert counting.over() == before
    assert len(before) == KEPT
    assert [each.baseline.requests for each in before] == [1] * KEPT
    assert windows_of(windows_json(before)) == before


def test_the_counts_of_all_replicas_add_up_to_sound_windows(clock):
    began_s = clock.now_s
    processes = {f"baseline:{name}": Counting("baseline", name, 1.0, clock) for name in "ab"}
    processes["candidate:c"] = Counting("candidate", "c", 1.0, clock)
    for counting in list(processes.values())[:2]:
        counting.sent("baseline", has_failed=False)
        counting.took(0.002)
        counting.sent("candidate", has_failed=True)
    processes["candidate:c"].took(0.5)
    clock.now_s += 1
    told = {name: counting.over() for name, counting in processes.items()}
    assert gathered(told, since_s=began_s, now_s=clock.now_s) == {}, "some replicas may not have told yet"
    clock.now_s += 2
    (window,) = gathered(told, since_s=began_s, now_s=clock.now_s).values()
    assert (window.baseline.requests, window.candidate.requests, window.candidate.errors) == (2, 2, 2)
    assert (window.baseline.asked, window.baseline.told, window.candidate.asked) == (2, 2, 1)
    assert set(window.baseline.memory_bytes) == {"a", "b"}
    assert soundness.fault(window) is None
    assert soundness.gap(window) is None


def test_a_replica_that_tells_no_more_is_missed_for_a_while(clock):
    began_s = clock.now_s
    processes = {name: Counting(name.split(":")[0], name, 1.0, clock) for name in ("baseline:a", "candidate:c")}
    told = {}
    for second in range(8):
        clock.now_s += 1
        alive = [name for name in processes if name.startswith("baseline") or second < 2]
        told |= {name: processes[name].over() for name in alive}
    windows = gathered(told, since_s=began_s, now_s=clock.now_s + 2)
    missing = [soundness.gap(each) is not None for each in windows.values()]
    assert missing == [False, False, *[True] * 6], "with nobody left there is no window without a gap"


def test_without_a_word_of_the_candidate_no_window_is_complete(clock):
    counting = Counting("baseline", "a", 1.0, clock)
    clock.now_s += 1
    (window,) = gathered({"baseline:a": counting.over()}, since_s=0, now_s=clock.now_s + 2).values()
    assert soundness.gap(window) is not None
