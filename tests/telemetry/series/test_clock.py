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


@given(back_s=st.integers(11, 299), interval_s=st.sampled_from([1, 5, 10, 60]))
def test_a_clock_that_was_set_back_counts_as_from_now_with_the_second_late_report(back_s, interval_s):
    clock, last_ns = SenderClock(), START_NS
    for number in (1, 2):
        now_ns = START_NS + number * interval_s * 10**9
        time_ns = now_ns - back_s * 10**9
        if time_ns < last_ns:
            assert time_ns + clock.see_behind(time_ns, last_ns, now_ns) == (time_ns if number == 1 else now_ns)


def test_reports_that_were_held_up_set_no_clock():
    clock = SenderClock()
    for number in range(20):  # a burst of what waited a minute
        now_ns = START_NS + number * 10**7
        assert clock.see_behind(START_NS + (number - 60) * 10**9, START_NS, now_ns) == 0
    clock = SenderClock()
    for number in range(20):  # each between two that are in order
        now_ns = START_NS + number * 10**9
        clock.see_in_order()
        assert clock.see_behind(now_ns - 60 * 10**9, now_ns, now_ns) == 0
