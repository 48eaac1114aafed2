"""The state machine, by property."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from telemetry.watching.decision import Decision, Machine, State

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
