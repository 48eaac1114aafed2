"""The state machine, by property."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from telemetry.watching.decision import TOLERANCE, Decision, Machine, State

verdicts = st.lists(st.booleans(), max_size=80)
decisions = st.builds(
    lambda k, n, calm, calm_s, rest: Decision(
        num_needed=min(k, n), num_considered=n, num_calm=calm, calm_s=calm_s, refractory_s=rest
    ),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(2, 6),
    st.floats(0, 10),
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
    return [machine.step(verdict, not verdict, float(at)) for at, verdict in enumerate(verdicts)]


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
def test_an_alert_ends_only_after_calm_verdicts(decision, verdicts):
    states = [State.OK, *walk(decision, verdicts)]
    for at, (before, after) in enumerate(pairwise(states)):
        if before is State.FIRING and after is not State.FIRING:
            assert verdicts[: at + 1].count(False) >= decision.num_calm
            assert not verdicts[at]
            assert sum(verdicts[max(0, at + 1 - TOLERANCE) : at + 1]) <= 1


@given(verdicts)
def test_a_verdict_that_stands_for_two_counts_twice(verdicts):
    decision = Decision(num_needed=4, num_considered=5)
    once, twice = Machine(decision), Machine(decision)
    for at, verdict in enumerate(verdicts):
        state = once.step(verdict, False, float(at))
        once_more = once.step(verdict, False, float(at))
        assert twice.step(verdict, False, float(at), stands_for=2) in (state, once_more)


@given(decisions, verdicts)
def test_enough_of_the_same_always_decides(decision, verdicts):
    assert walk(decision, verdicts + [True] * 6)[-1] is State.FIRING
    quiet = (
        TOLERANCE + decision.num_calm + decision.num_considered + int(decision.calm_s) + int(decision.refractory_s) + 3
    )
    assert walk(decision, verdicts + [False] * quiet)[-1] is State.OK


@given(decisions, verdicts)
def test_since_is_the_first_unusual_of_the_episode(decision, verdicts):
    machine = Machine(decision)
    for at, verdict in enumerate(verdicts):
        if machine.step(verdict, not verdict, float(at)) in (State.PENDING, State.FIRING):
            assert machine.since_s <= at
            assert verdicts[int(machine.since_s)]


def test_silence_and_what_is_neither_unusual_nor_calm_end_nothing():
    machine = Machine(Decision(num_needed=1, num_considered=1, num_calm=2, calm_s=10.0, max_gap_s=5.0))
    machine.step(True, False, 0.0)
    for at in range(1, 100):
        assert machine.step(False, False, float(at)) is State.FIRING
    for at in (100.0, 4000.0, 8000.0):
        assert machine.step(False, True, at) is State.FIRING, "hours lie between them"
    machine.step(True, False, 8001.0)
    states = [machine.step(False, True, 8001.0 + at) for at in range(1, 13)]
    assert states.index(State.RESOLVED) == 10


def test_a_machine_goes_on_from_its_document():
    machine = Machine(Decision())
    for at in range(4):
        machine.step(True, False, float(at))
    after = Machine(Decision())
    after.restore(machine.document())
    assert (after.state, after.since_s) == (State.FIRING, 0.0)
