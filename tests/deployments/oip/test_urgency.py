"""Deadlines and priorities, as Ray's header and Triton's parameters say them."""

import pytest

from deployments.errors import RequestError
from deployments.oip.urgency import seconds_left, urgency_of


@pytest.mark.parametrize(("header", "seconds"), [(None, None), ("1.5", 1.5), ("0", None), ("-1", None), ("inf", None)])
def test_the_header_counts_in_seconds_and_none_is_no_limit(header, seconds):
    assert seconds_left(header) == seconds


def test_the_shorter_limit_counts():
    assert urgency_of({"timeout": 2_000_000}, 1.0).timeout_s == 1.0
    assert urgency_of({"timeout": 500_000}, 1.0).timeout_s == 0.5
    assert urgency_of({"timeout": 0}, None).timeout_s is None


def test_priority_1_goes_first_and_the_default_last():
    ranks = [urgency_of({"priority": priority}, None).rank for priority in (1, "2", 7, 0)]
    assert ranks == sorted(ranks)
    assert urgency_of({}, None).rank == ranks[-1]


@pytest.mark.parametrize("parameters", [{"timeout": -1}, {"timeout": 0.5}, {"priority": True}, {"priority": "high"}])
def test_what_is_no_whole_number_is_refused_by_name(parameters):
    (name,) = parameters
    with pytest.raises(RequestError, match=f"parameter '{name}' must be a whole number from 0, got"):
        urgency_of(parameters, None)


def test_a_header_that_is_no_number_is_refused():
    with pytest.raises(RequestError, match="must be a number of seconds, got 'soon'"):
        seconds_left("soon")
