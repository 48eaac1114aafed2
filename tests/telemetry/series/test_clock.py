"""A sender's clock that is off is put right, and stays put right, whatever it does."""

from hypothesis import given
from hypothesis import strategies as st

from telemetry.series.clock import MAX_AHEAD_S, MAX_BEHIND_S, SenderClock

START_NS = 1_800_000_000 * 10**9
seconds = st.floats(-(10**6), 10**6)
steps = st.lists(st.tuples(st.floats(0, 100), seconds), min_size=1, max_size=40)
"""Seconds that pass, and how far the sender's clock is ahead then."""


def walk(steps):
    """(the collector's time, the sender's, the offset) after each step, in nanoseconds."""
    clock, now_ns = SenderClock(), START_NS
    for passed_s, ahead_s in steps:
        now_ns += int(passed_s * 1e9)
        time_ns = now_ns + int(ahead_s * 1e9)
        yield now_ns, time_ns, clock.see(time_ns, now_ns)


@given(steps)
def test_no_corrected_time_is_beyond_the_limits(steps):
    for now_ns, time_ns, offset_ns in walk(steps):
        assert -MAX_BEHIND_S <= (time_ns + offset_ns - now_ns) / 1e9 <= MAX_AHEAD_S


@given(steps)
def test_a_clock_within_the_limits_is_left_alone(steps):
    near = [(passed_s, max(-MAX_BEHIND_S, min(MAX_AHEAD_S, ahead_s))) for passed_s, ahead_s in steps]
    assert {offset_ns for *_, offset_ns in walk(near)} == {0}


@given(seconds, st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_a_constant_error_is_corrected_by_a_constant(ahead_s, passed):
    assert len({offset_ns for *_, offset_ns in walk([(each, ahead_s) for each in passed])}) == 1


def test_one_wrong_time_changes_nothing_for_those_after_it():
    assert [offset_ns for *_, offset_ns in walk([(1, 0), (1, 3600), (1, 0), (1, 0)])] == [0, -3600 * 10**9, 0, 0]
