"""The state machine, by property, and the watches around it."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from telemetry.watching.alerts import Decision, Machine, State
from telemetry.watching.watches import duration_range, duration_text
from tests.telemetry.traffic import START_S, Steady, failing, replay, spiked

verdicts = st.lists(st.booleans(), max_size=80)
decisions = st.builds(
    lambda k, n, normal, rest: Decision(num_needed=min(k, n), num_considered=n, num_normal=normal, refractory_s=rest),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 6),
    st.floats(0, 30),
)
ALLOWED = {
    State.OK: {State.OK, State.PENDING, State.FIRING},
    State.PENDING: {State.PENDING, State.FIRING, State.OK, State.RESOLVED},
    State.FIRING: {State.FIRING, State.RESOLVED},
    State.RESOLVED: {State.RESOLVED, State.OK, State.PENDING, State.FIRING},
}


def walk(decision, verdicts):
    machine = Machine(decision)
    return [machine.step(verdict, float(at)) for at, verdict in enumerate(verdicts)]


@given(decisions, verdicts)
def test_only_the_drawn_transitions_happen(decision, verdicts):
    states = [State.OK, *walk(decision, verdicts)]
    assert all(after in ALLOWED[before] for before, after in pairwise(states))


@given(decisions, verdicts)
def test_an_alert_needs_k_of_n_unusual(decision, verdicts):
    states = [State.OK, *walk(decision, verdicts)]
    for at, (before, after) in enumerate(pairwise(states)):
        if after is State.FIRING and before is not State.FIRING:
            assert sum(verdicts[max(0, at + 1 - decision.num_considered) : at + 1]) >= decision.num_needed


@given(decisions, verdicts)
def test_an_alert_ends_only_after_normal_values_in_a_row(decision, verdicts):
    states = [State.OK, *walk(decision, verdicts)]
    for at, (before, after) in enumerate(pairwise(states)):
        if before is State.FIRING and after is not State.FIRING:
            assert not any(verdicts[at + 1 - decision.num_normal : at + 1])


@given(decisions, verdicts)
def test_enough_of_the_same_always_decides(decision, verdicts):
    assert walk(decision, verdicts + [True] * 6)[-1] is State.FIRING
    quiet = decision.num_normal + decision.num_considered + int(decision.refractory_s) + 2
    assert walk(decision, verdicts + [False] * quiet)[-1] is State.OK


@given(decisions, verdicts)
def test_since_is_the_first_unusual_of_the_episode(decision, verdicts):
    machine = Machine(decision)
    for at, verdict in enumerate(verdicts):
        if machine.step(verdict, float(at)) in (State.PENDING, State.FIRING):
            assert machine.since_s <= at
            assert verdicts[int(machine.since_s)]


def test_what_comes_back_soon_is_the_same_alert():
    traffic = Steady(rate=100)

    def second(rng, at_s):
        wave = at_s in range(60, 75) or at_s in range(95, 110)
        return (spiked(traffic, from_s=0) if wave else traffic.second)(rng, at_s)

    _, alerts = replay(second, seconds=140, seed=0)
    assert len(alerts) == 1
    assert alerts[0].resolved_s is not None
    assert alerts[0].resolved_s - START_S > 110


def test_an_alert_ends_when_its_traffic_does():
    traffic = Steady(rate=100, until_s=80)
    _, (alert,) = replay(spiked(traffic, from_s=60), seconds=160, seed=0)
    assert alert.state is State.RESOLVED


def test_a_lasting_shift_becomes_the_new_normal():
    _, (alert,) = replay(spiked(Steady(rate=20), from_s=120, factor=20), seconds=1600, seed=0)
    assert alert.state is State.RESOLVED
    assert alert.resolved_s - alert.fired_s > 300


def test_an_alert_says_what_where_and_what_was_expected():
    _, (alert,) = replay(spiked(Steady(rate=100), from_s=60), seconds=80, seed=0)
    assert alert.sentence.startswith("digits: p95 latency ")
    assert ", expected " in alert.sentence
    assert alert.expected_low < alert.expected_high < 0.02 < 0.2 < alert.value
    assert START_S + 60 <= alert.started_s <= alert.fired_s <= START_S + 67


def test_an_error_burst_alerts_once():
    _, alerts = replay(failing(Steady(rate=50), from_s=60), seconds=120, seed=0)
    assert [alert.signal for alert in alerts] == ["server_errors"]
    assert 0.2 < alerts[0].value < 0.4


def test_one_failure_of_two_requests_is_no_alert():
    def second(rng, at_s):
        return {200: np.full(1, 0.002), 500: np.full(1, 0.002)} if at_s in (30, 90) else {}

    assert replay(second, seconds=120, seed=0)[1] == []


def test_durations_are_said_in_their_own_unit():
    assert [duration_text(s) for s in (0.212, 0.0018, 2.5, 0.00035)] == ["212 ms", "1.8 ms", "2.5 s", "350 µs"]
    assert duration_range((0.0018, 0.0024)) == "1.8-2.4 ms"
