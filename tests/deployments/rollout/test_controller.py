"""Rollouts from beginning to end, whatever happens on the way; on a clock and in a cluster that are simulated."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deployments.errors import ConflictError, NotFoundError, RequestError
from deployments.monitoring.alerts import Alert, Watched
from deployments.rollout.plan import RolloutSettings
from telemetry.slo.objective import Objective
from tests.deployments.rollout.simulated import MODEL, Died, World, quick

QUICK = {"step_s": 3.0, "window_s": 0.5, "inconclusive_s": 20.0, "start_s": 10.0, "canary": (1, 10, 50)}


@pytest.fixture
def world():
    made = World()
    yield made
    made.end()


def phases(world):
    return [(each.phase, each.share) for each in world.latest.decisions]


def test_a_good_version_takes_all_steps_and_is_promoted(world):
    world.begin(**QUICK, shadow=True, auto=True)
    world.tick(60)
    steps = [share for phase, share in phases(world) if phase in ("shadow", "canary")]
    assert sorted(set(steps)) == [0.0, 0.01, 0.1, 0.5]
    assert world.latest.phase == "promoted"
    assert (world.serving, world.apps, world.shared.split(MODEL)) == ("2", {}, None)


def test_without_auto_it_waits_for_a_person(world):
    world.begin(**QUICK)
    world.tick(60)
    assert (world.latest.phase, world.latest.share, world.serving) == ("canary", 0.5, "1")
    world.run(world.controller.promote(MODEL, why="ann"))
    world.tick(3)
    assert (world.latest.phase, world.serving) == ("promoted", "2")


def test_what_the_collector_promises_of_the_model_is_held_against_its_new_version(world):
    world.promised = [Objective(name="fast", service=MODEL, share=0.99, latency_s=0.1)]
    world.begin(**QUICK)
    assert world.latest.settings.analysis.slos == tuple(world.promised)
    world.run(world.controller.abort(MODEL, why="another"))
    world.tick(3)
    world.begin(**QUICK, analysis={"slos": []})
    assert world.latest.settings.analysis.slos == (), "what the rollout itself says goes before"


def alert(world, signal, since_s):
    at_s = world.now_s + since_s
    return Alert(id=1, signal=signal, started_s=at_s, fired_s=at_s, text=f"{signal}: too fast")


HOLDING = {
    "x1 has drifted": lambda world: Watched(unusual={"1": ["x2 has drifted"], "2": ["x1 has drifted"]}),
    "objective:fast: too fast": lambda world: Watched(alerts=[alert(world, "objective:fast", 0)]),
    "the collector is gone": lambda world: None,
}


@pytest.mark.parametrize("why", HOLDING)
def test_what_the_collector_finds_of_the_candidate_or_a_silent_one_holds_and_then_rolls_back(world, why):
    world.begin(**QUICK, auto=True)
    world.tick(4)
    world.watching = HOLDING[why](world)
    held = world.latest.share
    world.tick(10)
    assert (world.latest.share, world.latest.last) == (held, "inconclusive"), world.latest.said
    world.tick(20)
    assert world.latest.phase == "rolled_back"
    assert why in world.latest.decisions[-2].text


def test_alerts_of_before_and_what_both_versions_have_in_common_hold_nothing(world):
    unusual = {"1": ["x1 has drifted", "accuracy has fallen"], "2": ["x1 has drifted"]}
    world.watching = Watched(alerts=[alert(world, "objective:fast", -1), alert(world, "latency", 5)], unusual=unusual)
    world.begin(**QUICK, auto=True)
    world.tick(20)
    assert world.latest.phase == "promoted"


@pytest.mark.parametrize("at_share", [0.0, 0.01, 0.5])
def test_a_bad_version_is_rolled_back_at_any_step(world, at_share):
    world.begin(**QUICK, shadow=True, auto=True)
    while world.latest.phase == "starting" or world.latest.share < at_share:
        world.tick()
    world.verdict = "bad"
    world.tick(4)
    assert (world.latest.phase, world.serving, world.apps) == ("rolled_back", "1", {})
    assert world.shared.split(MODEL) is None
    assert any(each.evidence["findings"][0]["text"] == "it is bad" for each in world.latest.decisions if each.evidence)


@pytest.mark.parametrize("verdict", ["inconclusive", "fails"])
def test_what_cannot_be_judged_is_held_and_then_rolled_back(world, verdict):
    world.verdict = verdict
    world.begin(**QUICK, auto=True)
    world.tick(15)
    assert (world.latest.phase, world.latest.share) == ("canary", 0.01)
    with pytest.raises(ConflictError, match="must be good to promote it"):
        world.run(world.controller.promote(MODEL, why="ann"))
    world.tick(15)
    assert (world.latest.phase, world.serving) == ("rolled_back", "1")


def test_a_version_that_crashes_as_it_is_loaded_is_rolled_back_with_the_reason(world):
    world.broken.add("2")
    world.begin(**QUICK)
    world.tick(4)
    assert world.latest.phase == "rolled_back"
    assert any("it crashed" in each.text for each in world.latest.decisions)


def test_an_artifact_that_is_gone_by_then_is_one_clear_error(world):
    world.begin(**QUICK)
    world.versions.remove("2")
    world.tick(4)
    assert world.latest.phase == "rolled_back"
    assert world.latest.decisions[1].text == "it is gone"


def test_an_artifact_that_is_gone_at_promotion_leaves_the_old_version(world):
    world.begin(**QUICK, auto=True)
    while world.latest.phase != "promoting":
        world.tick()
    world.versions.remove("2")
    world.tick(4)
    assert (world.latest.phase, world.serving, world.apps) == ("rolled_back", "1", {})


def test_a_controller_that_dies_as_it_promotes_what_then_fails_leaves_the_old_version(world):
    world.begin(**QUICK, auto=True)
    while world.latest.phase != "promoting":
        world.tick()
    world.mortal.at(0, is_done_before=True)
    with pytest.raises(Died):
        world.tick()
    assert world.serving == "2"
    world.restart()
    world.versions.remove("2")
    world.tick(4)
    assert (world.latest.phase, world.serving, world.apps) == ("rolled_back", "1", {})


def test_a_step_that_waits_for_weeks_keeps_its_latest_verdicts_and_tells_of_each(world):
    world.begin(**QUICK | {"canary": (50,)})
    while world.latest.phase != "canary":
        world.tick()
    since = world.latest.decisions
    for number in range(200):
        world.verdict = ("inconclusive", "good")[number % 2]
        world.tick()
    assert world.latest.decisions[: len(since)] == since, "how it came to this step"
    assert len(world.latest.decisions) == len(since) + 20
    assert len(world.told) > 150


def test_what_a_rollout_waits_for_is_logged_once_though_it_is_gone_for_hours(world, caplog):
    world.begin(**QUICK)
    world.tick(3)
    world.verdict, world.is_reachable = "bad", False
    world.tick(100)
    assert world.latest.phase == "rolling_back"
    assert sum("a node is down" in line for line in caplog.messages) == 1


def test_names_of_no_model_leave_nothing_behind(world):
    for number in range(100):
        with pytest.raises(NotFoundError):
            world.run(world.controller.abort(f"nobody-{number}", why="a test"))
    assert len(world.controller._locks) <= 1


def test_a_rollback_while_a_node_is_down_ends_once_it_can(world):
    world.begin(**QUICK)
    world.tick(3)
    world.verdict, world.is_reachable = "bad", False
    world.tick(5)
    assert world.latest.phase == "rolling_back"
    assert world.shared.split(MODEL) is None, "nobody asks the candidate meanwhile"
    world.is_reachable = True
    world.tick(3)
    assert (world.latest.phase, world.apps) == ("rolled_back", {})


def test_one_rollout_of_a_model_at_a_time(world):
    world.begin(**QUICK)
    with pytest.raises(ConflictError, match="to version '2' is under way"):
        world.begin("3")


@pytest.mark.parametrize(
    ("version", "given", "message"),
    [
        ("9", {}, "has version 1, 2, 3, not '9'"),
        ("1", {}, "answers already"),
        ("2", {"canary": [50, 10]}, "canary: .*must rise"),
        ("2", {"canary": []}, "must name a percentage"),
        ("2", {"percent": 3}, "percent: Extra inputs"),
    ],
)
def test_what_cannot_be_rolled_out_is_refused(world, version, given, message):
    with pytest.raises(RequestError, match=message):
        world.begin(version, **given)
    with pytest.raises(NotFoundError):
        world.controller.latest(MODEL)


def test_an_order_to_abort_ends_it(world):
    world.begin(**QUICK)
    world.tick(3)
    world.run(world.controller.abort(MODEL, why="ann"))
    world.tick(3)
    assert (world.latest.phase, world.serving, world.apps) == ("aborted", "1", {})
    with pytest.raises(ConflictError, match="it is aborted"):
        world.run(world.controller.abort(MODEL, why="ann"))


def test_a_published_version_is_rolled_out_once_where_the_settings_say_so():
    world = World(rollout=quick(auto=True))
    world.versions = ["1"]
    world.shared.pin_first(MODEL, "1")
    world.tick(5)
    assert world.controller.rollouts() == []
    world.versions.append("2")
    world.tick(60)
    assert (world.latest.phase, world.serving, world.shared.pins()) == ("promoted", "2", {MODEL: "2"})
    world.verdict = "bad"
    world.versions.append("3")
    world.tick(60)
    assert [each.candidate for each in world.controller.rollouts()] == ["3", "2"], "a bad one is not tried again"
    assert (world.serving, world.shared.pins()) == ("2", {MODEL: "2"})
    world.end()


def test_a_cluster_that_starts_anew_answers_by_what_was_rolled_out():
    """The store is empty, the disk is not."""
    world = World(rollout=quick())
    world.shared.pin_first(MODEL, "1")
    world.tick(5)
    for key in world.store.keys(""):
        world.store.delete(key)
    world.restart()
    assert world.shared.pins() == {MODEL: "1"}
    assert world.shared.is_ready()
    world.end()


def test_a_controller_on_another_host_goes_on_from_the_store(world, tmp_path):
    world.begin(**QUICK, auto=True)
    world.tick(6)
    share = world.latest.share
    world.controller._folder = tmp_path
    world.controller._history.close()
    world.run(world.controller.restore())
    assert (world.latest.phase, world.latest.share) == ("canary", share)
    world.tick(60)
    assert (world.latest.phase, world.serving) == ("promoted", "2")


def test_a_controller_that_starts_anew_takes_no_old_verdict_for_its_own(world):
    world.begin(**QUICK)
    world.tick(60)
    assert world.latest.last == "good"
    world.restart()
    with pytest.raises(ConflictError, match="got none yet"):
        world.run(world.controller.promote(MODEL, why="ann"))


def test_a_store_that_cannot_be_read_yet_is_read_later(world):
    world.begin(**QUICK)
    world.controller._history.close()
    rollouts = world.shared.rollouts

    def fails():
        raise OSError("the store does not answer")

    world.shared.rollouts = fails
    with pytest.raises(OSError, match="does not answer"):
        world.run(world.controller.restore())
    world.shared.rollouts = rollouts
    world.run(world.controller.restore())
    assert world.latest.candidate == "2"


class Rollouts(RuleBasedStateMachine):
    """Orders, verdicts, time and deaths of the controller in any sequence."""

    def __init__(self):
        super().__init__()
        self.world = World()
        self.good = set()
        self.baseline = "1"

    def teardown(self):
        self.world.end()

    def _surely(self, doing):
        """Done, refused, or cut short by the controller's death: then another one goes on."""
        world = self.world
        try:
            world.run(doing())
        except RequestError:
            pass
        except Died:
            world.restart()

    @rule(version=st.sampled_from(["1", "2", "3", "9"]), auto=st.booleans(), shadow=st.booleans())
    def begin(self, version, auto, shadow):
        given = {**QUICK, "auto": auto, "shadow": shadow, "canary": (10, 50)}
        self._surely(lambda: self.world.controller.begin(MODEL, version, given, why="a test"))

    @rule()
    def promote(self):
        self._surely(lambda: self.world.controller.promote(MODEL, why="a test"))

    @rule()
    def abort(self):
        self._surely(lambda: self.world.controller.abort(MODEL, why="a test"))

    @rule(verdict=st.sampled_from(["good", "good", "bad", "inconclusive", "fails"]), num=st.integers(1, 6))
    def judge(self, verdict, num):
        self.world.verdict = verdict
        for _ in range(num):
            self.world.now_s += 1.0
            self._surely(self.world.controller.tick)
            self._note()

    @rule(num_doings=st.integers(0, 6), is_done_before=st.booleans())
    def die_soon(self, num_doings, is_done_before):
        self.world.mortal.at(num_doings, is_done_before=is_done_before)

    @rule()
    def restart(self):
        self.world.restart()

    @rule(is_reachable=st.booleans())
    def reach(self, is_reachable):
        self.world.is_reachable = is_reachable

    @precondition(lambda self: self.world.apps)
    @rule()
    def the_candidate_crashes(self):
        self.world.broken = set(self.world.apps.values())
        self._surely(self.world.controller.tick)
        self._note()
        self.world.broken = set()

    def _note(self):
        for each in self.world.controller.rollouts():
            if each.last == "good" or any(d.evidence and d.evidence["kind"] == "good" for d in each.decisions):
                self.good.add(each.id)

    @invariant()
    def nothing_is_promoted_without_a_good_verdict(self):
        self._note()
        for each in self.world.controller.rollouts():
            assert each.phase not in ("promoting", "promoted") or each.id in self.good

    @invariant()
    def the_baseline_serves_until_the_candidate_is_promoted(self):
        rollouts = self.world.controller.rollouts()
        if not rollouts:
            assert self.world.serving == "1"
            return
        latest = rollouts[0]
        either = {latest.baseline, latest.candidate}
        expected = {"promoting": either, "rolling_back": either, "promoted": {latest.candidate}}
        assert self.world.serving in expected.get(latest.phase, {latest.baseline})

    @invariant()
    def there_is_one_candidate_and_none_where_nothing_is_rolled_out(self):
        assert len(self.world.apps) <= 1
        rollouts = self.world.controller.rollouts()
        if not rollouts or rollouts[0].has_ended:
            assert self.world.apps == {}
            assert self.world.shared.split(MODEL) is None

    @invariant()
    def one_rollout_is_under_way_at_most(self):
        assert sum(not each.has_ended for each in self.world.controller.rollouts()) <= 1


Rollouts.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestRollouts = Rollouts.TestCase


def test_settings_of_a_model_are_what_an_order_changes():
    world = World(rollout=RolloutSettings(canary=(5,), auto=True))
    begun = world.begin(step_s=7.0)
    assert (begun.settings.canary, begun.settings.auto, begun.settings.step_s) == ((5.0,), True, 7.0)
    world.end()
