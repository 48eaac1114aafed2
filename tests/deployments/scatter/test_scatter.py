"""One large request over several replicas: real predictors of a real model beside each other in one process; only where
a replica fails is its answer made up."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.batching.admission import Limits
from deployments.errors import DeadlineError, OverloadedError, RequestError, UnavailableError
from deployments.execution.byte_budget import ByteBudget
from deployments.execution.load import load_predictor
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http.model import ModelApp
from deployments.oip.urgency import Urgency
from deployments.replicas.held import Held
from deployments.scatter.answering import answered
from deployments.scatter.part import LostError, Refusal, UnansweredError
from deployments.scatter.scatter import HERE, Scatter
from deployments.settings import ModelSettings
from telemetry import conventions
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.trace import caller_of, current
from tests.conftest import expected_probabilities, publish_tiny

BATCH = 8


def emitter():
    return Emitter(service="tiny", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:9")


class Beside:
    """A replica in this process: `predictor` in version 1. What it is asked is remembered; `does` are what it does in
    turn before it answers, each a coroutine function of no arguments."""

    def __init__(self, name, predictor, *does, versions=("1",), budget_bytes=10**9):
        self.name = name
        self.app = ModelApp(predictor, max_body_bytes=4096, emitter=emitter())
        self.held = {version: Held(app=self.app, copy=None) for version in versions}
        self.budget = ByteBudget(budget_bytes)
        self.does = list(does)
        self.asked = []
        self.was_cancelled = False

    async def answer(self, part):
        self.asked.append(part)
        try:
            if self.does:
                await self.does.pop(0)()
            answer = await answered(part, self.held.get, self.budget, emitter())
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        if isinstance(answer, Refusal):
            raise UnansweredError(answer.reason)
        return answer


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return publish_tiny(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def run(artifact):
    return Session(artifact, num_threads=1, max_batch_size=BATCH).run


@pytest.fixture
def predictor(artifact, run):
    """Makes predictors of the model."""

    def make(run=run, scatter=None, **limits):
        limits = Limits(max_batch_size=BATCH, max_request_samples=1000, **limits)
        return Predictor(artifact.manifest, run, limits=limits, inline=False, scatter=scatter, emitter=emitter())

    return make


def features(rows):
    return {"features": np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)}


def expected(inputs):
    return expected_probabilities(inputs["features"])


def scattering(others, reports=None, **settings):
    async def found(version):
        assert version == "1"
        return others

    settings = {"worthwhile_s": 0, "from_rows": 1, **settings}
    return Scatter(found, version="1", batch_rows=BATCH, emitter=reports or emitter(), **settings)


def ask(predictor, others, inputs, urgency=Urgency(), *, run=None, reports=None, **settings):  # noqa: B008 - frozen
    """What a predictor that shares with `others` answers, or raises."""

    async def main():
        scatter = scattering(others, reports, **settings)
        origin = predictor(run, scatter) if run else predictor(scatter=scatter)
        started = [origin, *(other.app.predictor for other in others)]
        for each in started:
            each.start()
        try:
            async with asyncio.timeout(20):
                return await origin.predict(inputs, urgency), origin
        finally:
            for each in started:
                await each.stop()

    return asyncio.run(main())


async def is_lost():
    raise LostError("ActorDiedError")


async def is_silent():
    await asyncio.Event().wait()


def test_rows_keep_their_order_and_equal_those_of_one_replica(predictor):
    others = [Beside("a", predictor()), Beside("b", predictor())]
    inputs = features(300)
    outputs, _ = ask(predictor, others, inputs)
    alone, _ = ask(predictor, [], inputs)
    assert all(each.asked for each in others)
    np.testing.assert_array_equal(outputs["probabilities"], alone["probabilities"])
    np.testing.assert_allclose(outputs["probabilities"], expected(inputs), rtol=1e-5)


def parts_by_place(reports):
    points = reports.counter(conventions.SCATTER_PARTS).data(0, 1).data_points
    assert all(point.attributes.pop(conventions.MODEL_VERSION) == "1" for point in points)
    return {tuple(point.attributes.values()): point.value for point in points}


def test_every_replica_computes_and_the_request_is_counted_once(predictor):
    others = [Beside("a", predictor()), Beside("b", predictor(), refuses)]
    reports = emitter()
    _, origin = ask(predictor, others, features(240), reports=reports)
    parts = parts_by_place(reports)
    assert parts.pop(("here",)) > 0
    assert parts == {("elsewhere",): len(others[0].asked), ("elsewhere", "UnansweredError"): 1}
    counts = [each.statistics.snapshot() for each in (origin, *(other.app.predictor for other in others))]
    assert sum(each["inference_count"] for each in counts) == 240
    assert [each["inference_count"] > 0 for each in counts] == [True, True, False]
    # What clients see is counted where a request comes in, over HTTP; a part comes in nowhere.
    assert [each["inference_stats"]["success"]["count"] for each in counts] == [0, 0, 0]


def test_a_request_that_fits_one_call_asks_nobody(predictor):
    class Nobody:
        def __iter__(self):
            raise AssertionError("looked for others")

    async def main():
        origin = predictor(scatter=scattering(Nobody()))
        origin.start()
        outputs = await origin.predict(features(BATCH))
        await origin.stop()
        return outputs

    assert len(asyncio.run(main())["probabilities"]) == BATCH


def test_what_is_quickly_done_here_is_done_here(predictor):
    other = Beside("a", predictor())
    outputs, _ = ask(predictor, [other], features(300), worthwhile_s=0.05)
    assert not other.asked
    assert len(outputs["probabilities"]) == 300


def test_fewer_rows_than_the_setting_says_stay_here(predictor):
    fewer, enough = Beside("a", predictor()), Beside("a", predictor())
    ask(predictor, [fewer], features(99), from_rows=100)
    ask(predictor, [enough], features(100), from_rows=100)
    assert enough.asked
    assert not fewer.asked


def test_the_setting_turns_it_off(artifact):
    async def others(_):
        raise AssertionError("looked for others")

    def loaded(**more):
        return load_predictor(
            artifact, ModelSettings(artifact="tiny", **more), has_gpu=False, emitter=emitter(), others=others
        )

    assert loaded()._scatter is not None
    assert loaded(scatter_from_samples=0)._scatter is None


def test_a_lost_replicas_rows_go_to_another_and_it_is_left_alone_for_a_while(predictor):
    gone, other = Beside("gone", predictor(), is_lost, is_lost), Beside("b", predictor())

    async def main():
        origin = predictor(scatter=scattering([gone, other]))
        for each in (origin, gone.app.predictor, other.app.predictor):
            each.start()
        async with asyncio.timeout(20):
            answers = [await origin.predict(features(200)) for _ in range(2)]
        for each in (origin, gone.app.predictor, other.app.predictor):
            await each.stop()
        return answers

    for outputs in asyncio.run(main()):
        np.testing.assert_allclose(outputs["probabilities"], expected(features(200)), rtol=1e-5)
    assert len(gone.asked) == 1


def test_rows_that_two_replicas_did_not_survive_are_tried_no_more(predictor):
    others = [Beside("a", predictor(), is_lost), Beside("b", predictor(), is_lost)]

    async def main():
        origin = predictor(scatter=scattering(others))
        origin._rows = lambda *_: asyncio.Event().wait()  # this replica is busy: the rows that "a" had go to "b"
        origin.start()
        async with asyncio.timeout(10):
            with pytest.raises(UnavailableError, match="two replicas went while they had rows"):
                await origin.predict(features(64))
        await origin.stop()

    asyncio.run(main())
    same = [part.inputs["features"][0].tolist() for other in others for part in other.asked]
    assert same[0] == same[1]


def test_a_replica_without_room_leaves_its_rows_to_others(predictor):
    full, busy = Beside("full", predictor(), budget_bytes=1), Beside("busy", predictor(max_queue_size=1))

    async def refuse(*_):
        raise OverloadedError("1 requests wait already: try again later", retry_after_s=1)

    busy.app.predictor.part = refuse
    outputs, _ = ask(predictor, [full, busy], features(200))
    np.testing.assert_allclose(outputs["probabilities"], expected(features(200)), rtol=1e-5)
    assert [len(full.asked), len(busy.asked)] == [1, 1]
    assert full.budget._reserved_bytes == busy.budget._reserved_bytes == 0


def test_a_replica_that_lacks_the_version_answers_no_rows(predictor):
    def other_version(inputs):
        raise AssertionError("another version was asked")

    lacks = Beside("a", predictor(other_version), versions=("2",))
    outputs, _ = ask(predictor, [lacks], features(200))
    assert {part.version for part in lacks.asked} == {"1"}
    np.testing.assert_allclose(outputs["probabilities"], expected(features(200)), rtol=1e-5)


def test_an_error_of_the_request_itself_is_not_tried_again(predictor):
    async def bad():
        raise RequestError("element 3 cannot be used")

    others = [Beside("a", predictor(), bad, bad), Beside("b", predictor(), is_silent)]
    with pytest.raises(RequestError, match="element 3"):
        ask(predictor, others, features(200))
    assert len(others[0].asked) == 1
    assert others[1].was_cancelled


def test_the_deadline_holds_for_the_whole_and_ends_every_part(predictor):
    silent = Beside("a", predictor(), is_silent)
    with pytest.raises(DeadlineError, match=r"not answered within its 0\.2 s"):
        ask(predictor, [silent], features(200), Urgency(timeout_s=0.2))
    assert silent.was_cancelled


def test_priority_and_what_is_left_of_the_time_travel_with_a_part(predictor):
    other = Beside("a", predictor())
    ask(predictor, [other], features(200), Urgency(timeout_s=15, priority=3))
    assert {part.urgency.priority for part in other.asked} == {3}
    times = [part.urgency.timeout_s for part in other.asked]
    assert times == sorted(times, reverse=True)
    assert 0 < times[-1] <= times[0] <= 15


def test_where_the_client_has_gone_all_parts_end(predictor):
    silent = Beside("a", predictor(), is_silent)

    async def main():
        origin = predictor(scatter=scattering([silent]))
        origin.start()
        task = asyncio.create_task(origin.predict(features(200)))
        async with asyncio.timeout(10):
            while not silent.asked:
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert silent.was_cancelled
        assert origin._batcher._admission.num_waiting == 0
        await origin.stop()

    asyncio.run(main())


def test_shares_follow_the_pace_that_was_measured(predictor):
    slow, fast = Beside("slow", predictor()), Beside("fast", predictor())

    async def main():
        scatter = scattering([slow, fast])
        scatter._paces = {HERE: 100.0, "slow": 100.0, "fast": 800.0}
        origin = predictor(scatter=scatter)
        for each in (origin, slow.app.predictor, fast.app.predictor):
            each.start()
        await origin.predict(features(1000))
        for each in (origin, slow.app.predictor, fast.app.predictor):
            await each.stop()

    asyncio.run(main())
    assert [len(other.asked[0].inputs["features"]) for other in (slow, fast)] == [48, 360]


def test_outputs_that_are_no_rows_are_computed_in_one_call_here(predictor):
    def total(inputs):
        return {"probabilities": inputs["features"].sum()}

    other = Beside("a", predictor(total))
    outputs, _ = ask(predictor, [other], features(200), run=total)
    assert outputs["probabilities"] == features(200)["features"].sum()


def test_an_unusable_request_is_refused_before_anyone_is_asked(predictor):
    other = Beside("a", predictor())
    with pytest.raises(RequestError, match="at most 1000, got 1001"):
        ask(predictor, [other], features(1001))
    assert not other.asked


def test_while_the_others_cannot_be_found_a_large_request_is_answered_here(predictor, caplog):
    async def found(_):
        raise ConnectionError("the store does not answer")

    async def main():
        scatter = Scatter(found, version="1", batch_rows=BATCH, emitter=emitter(), worthwhile_s=0, from_rows=1)
        origin = predictor(scatter=scatter)
        origin.start()
        outputs = await origin.predict(features(200))
        await origin.stop()
        return outputs

    np.testing.assert_allclose(asyncio.run(main())["probabilities"], expected(features(200)), rtol=1e-5)
    assert "the other replicas cannot be found" in caplog.text


async def fine():
    pass


async def later():
    await asyncio.sleep(0)


async def refuses():
    raise UnansweredError("no room")


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(BATCH + 1, 200),
    plans=st.lists(st.lists(st.sampled_from([fine, later, refuses, is_lost]), max_size=6), max_size=4),
)
def test_whatever_replicas_do_the_rows_are_right_or_two_were_lost(artifact, run, rows, plans):
    def make(run=run, scatter=None):
        limits = Limits(max_batch_size=BATCH)
        return Predictor(artifact.manifest, run, limits=limits, inline=True, scatter=scatter, emitter=emitter())

    others = [Beside(str(number), make(), *plan) for number, plan in enumerate(plans)]
    inputs = features(rows)
    try:
        outputs, origin = ask(make, others, inputs)
    except UnavailableError:
        assert sum(is_lost in plan for plan in plans) >= 2
        return
    np.testing.assert_allclose(outputs["probabilities"], expected(inputs), rtol=1e-5)
    assert origin._batcher._admission.num_waiting == 0


def test_a_trace_goes_on_in_every_replica_that_has_a_part_of_the_request(predictor):
    trace = emitter().begin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    other = Beside("a", predictor())
    entered = current.set(trace)
    ask(predictor, [other], features(240))
    current.reset(entered)
    passed = [caller_of(part.trace.traceparent) for part in other.asked]
    assert {each.trace_id for each in passed} == {trace.trace_id}
    assert [each.span_id for each in passed] == [child.span_id for child in trace.children]
    assert {child.name for child in trace.children} == {"ask another replica"}
