"""Stragglers among peers."""

import math

import pytest

from telemetry.detectors.detector import DetectorError
from telemetry.detectors.straggler import straggler


def test_the_slow_one_of_eight_is_named():
    found = straggler({**{f"rank {rank}": 0.1 + 0.001 * rank for rank in range(7)}, "rank 7": 0.2})
    assert found.name == "rank 7"
    assert found.usual == pytest.approx(0.103)
    assert found.score > 1


def test_of_two_the_least_ratio_decides():
    assert straggler({"a": 1.0, "b": 1.4}).score < 1 <= straggler({"a": 1.0, "b": 1.5}).score


def test_peers_that_differ_much_hide_what_differs_as_much():
    peers = {str(place): 1.0 + place for place in range(8)}
    assert straggler(peers).score < 1


def test_less_than_the_least_shift_is_not_worth_a_look():
    assert straggler({"a": 0.001, "b": 0.002}, least_shift=0.002).score < 1


def test_equal_peers_score_zero():
    assert straggler({"a": 0.0, "b": 0.0, "c": 0.0}).score == 0


@pytest.mark.parametrize("peers", [{}, {"a": 1.0}, {"a": 1.0, "b": math.nan}])
def test_one_peer_and_no_number_are_refused(peers):
    with pytest.raises(DetectorError, match="must be"):
        straggler(peers)
