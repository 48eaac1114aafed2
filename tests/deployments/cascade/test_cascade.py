"""A student and its teacher behind one predictor: real predictors of real models in one process; only where the teacher
fails is its answer made up."""

import asyncio
import json

import numpy as np
import pytest

from deployments.batching.admission import Limits
from deployments.cascade import cascade
from deployments.cascade.cascade import ANSWERED_BY, CascadePredictor, LocalTeacher, calibrated
from deployments.errors import DeadlineError, OverloadedError, SettingsError, UnavailableError
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http.asgi import Call, call
from deployments.http.model import ModelApp
from deployments.oip.urgency import Urgency
from deployments.scatter.part import LostError, UnansweredError
from deployments.settings import ModelSettings, parse
from optimization.artifact.store import ArtifactError
from telemetry import conventions
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.trace import current
from tests.conftest import expected_probabilities, publish_tiny
from tests.deployments.stages.measured import FOUND, SHARE, SURE


def emitter():
    return Emitter(service="tiny", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:9")


class Reversed:
    """A teacher whose probabilities are the student's in reverse, so that each row tells who gave it. What it is asked
    is remembered; `does` are what it does in turn before it answers, each a coroutine function of no arguments."""

    def __init__(self, *does):
        self.does = list(does)
        self.asked = []
        self.was_cancelled = False

    def start(self):
        pass

    async def stop(self):
        pass

    async def answer(self, inputs, urgency):
        self.asked.append((inputs, urgency))
        try:
            if self.does:
                await self.does.pop(0)()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return {"probabilities": expected_probabilities(inputs["features"])[:, ::-1].astype(np.float32)}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return publish_tiny(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def run(artifact):
    return Session(artifact, num_threads=1, max_batch_size=64).run


@pytest.fixture
def predictor(artifact, run):
    def make(**limits):
        limits = Limits(max_batch_size=64, **limits)
        return Predictor(artifact.manifest, run, limits=limits, inline=True, emitter=emitter())

    return make


def features(rows, seed=0):
    return {"features": np.random.default_rng(seed).normal(scale=2, size=(rows, 4)).astype(np.float32)}


def expected(inputs):
    """The probabilities, and which rows the teacher gives."""
    own = expected_probabilities(inputs["features"])
    sent = own.max(axis=1) < SURE
    return np.where(sent[:, None], own[:, ::-1], own), sent


def cascaded(student, teacher, *, reports=None, timeout_s=10.0, without_teacher="student"):
    return CascadePredictor(
        student, teacher, FOUND, timeout_s=timeout_s, without_teacher=without_teacher, emitter=reports or emitter()
    )


def ask(predictor, *requests, urgency=Urgency()):  # noqa: B008 - frozen
    """What the predictor answers in turn."""

    async def main():
        predictor.start()
        try:
            async with asyncio.timeout(20):
                return [await predictor.predict(each, urgency) for each in requests]
        finally:
            await predictor.stop()

    return asyncio.run(main())


async def is_lost():
    raise LostError("ActorDiedError")


async def refuses():
    raise UnansweredError("it does not hold version '7'")


async def is_full():
    raise OverloadedError("512 requests wait already: try again later", retry_after_s=1)


async def is_late():
    raise DeadlineError("the request was not answered within its 0.1 s")


async def is_silent():
    await asyncio.Event().wait()


def test_only_unsure_rows_go_to_the_teacher_and_all_keep_their_order(predictor):
    teacher = Reversed()
    inputs = features(500)
    (outputs,) = ask(cascaded(predictor(), teacher), inputs)
    probabilities, sent = expected(inputs)
    assert 50 < sent.sum() < 450
    np.testing.assert_allclose(outputs["probabilities"], probabilities, rtol=1e-5)
    assert outputs[ANSWERED_BY].tolist() == [b"teacher" if each else b"student" for each in sent]
    seen = np.concatenate([each["features"] for each, _ in teacher.asked])
    np.testing.assert_array_equal(seen, inputs["features"][sent])
    assert max(len(each["features"]) for each, _ in teacher.asked) == cascade.PART_ROWS


def test_a_sure_request_asks_nobody(predictor):
    teacher = Reversed(is_silent)
    (outputs,) = ask(cascaded(predictor(), teacher), {"features": np.full((2, 4), 9, np.float32)})
    assert outputs[ANSWERED_BY].tolist() == [b"student"] * 2
    assert not teacher.asked


@pytest.mark.parametrize("does", [is_lost, refuses, is_full, is_late, is_silent])
def test_where_the_teacher_does_not_answer_the_student_does_and_says_so(predictor, does):
    inputs = features(60)
    (outputs,) = ask(cascaded(predictor(), Reversed(does, does), timeout_s=0.05), inputs)
    np.testing.assert_allclose(outputs["probabilities"], expected_probabilities(inputs["features"]), rtol=1e-5)
    _, sent = expected(inputs)
    assert outputs[ANSWERED_BY].tolist() == [b"unsure_student" if each else b"student" for each in sent]


@pytest.mark.parametrize("does", [is_lost, refuses, is_silent])
def test_or_the_request_fails_where_the_settings_say_so(predictor, does):
    made = cascaded(predictor(), Reversed(does, does), timeout_s=0.05, without_teacher="fail")
    with pytest.raises(UnavailableError, match=r"the teacher large/7 did not answer \d+ rows"):
        ask(made, features(60))


def test_a_part_that_is_not_answered_spoils_no_other(predictor):
    inputs = features(500)
    (outputs,) = ask(cascaded(predictor(), Reversed(refuses)), inputs)
    _, sent = expected(inputs)
    who = outputs[ANSWERED_BY][sent].tolist()
    assert who[: cascade.PART_ROWS] == [b"unsure_student"] * cascade.PART_ROWS
    assert set(who[cascade.PART_ROWS :]) == {b"teacher"}


@pytest.mark.parametrize(("does", "asked"), [(is_lost, 1), (is_silent, 1), (refuses, 3)])
def test_a_teacher_that_has_gone_or_is_too_slow_is_left_alone_for_a_while(predictor, does, asked):
    teacher = Reversed(does, does, does)
    answers = ask(cascaded(predictor(), teacher, timeout_s=0.05), *(features(20, seed) for seed in range(3)))
    assert len(teacher.asked) == asked
    assert all(b"unsure_student" in each[ANSWERED_BY].tolist() for each in answers)


def test_it_is_asked_again_after_that(predictor, monkeypatch):
    monkeypatch.setattr(cascade, "REST_S", 0.0)
    _, second = ask(cascaded(predictor(), Reversed(is_lost)), features(20), features(20))
    assert b"teacher" in second[ANSWERED_BY].tolist()


def test_a_client_in_a_hurry_gets_the_students_answer_in_its_time_and_the_teacher_is_not_blamed(predictor):
    teacher = Reversed(is_silent)
    made = cascaded(predictor(), teacher)
    first, second = ask(made, features(20), features(20), urgency=Urgency(timeout_s=0.6, priority=2))
    assert b"unsure_student" in first[ANSWERED_BY].tolist()
    assert b"teacher" in second[ANSWERED_BY].tolist()
    assert teacher.was_cancelled
    assert {urgency.priority for _, urgency in teacher.asked} == {2}
    assert all(0 < urgency.timeout_s < 0.6 for _, urgency in teacher.asked)


def test_where_the_client_has_gone_the_teacher_is_not_waited_for(predictor):
    teacher = Reversed(is_silent)

    async def main():
        made = cascaded(predictor(), teacher)
        made.start()
        task = asyncio.create_task(made.predict(features(20)))
        async with asyncio.timeout(10):
            while not teacher.asked:
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await made.stop()

    asyncio.run(main())
    assert teacher.was_cancelled


def test_outputs_that_do_not_fit_are_not_mixed_in(predictor):
    class Other(Reversed):
        async def answer(self, inputs, urgency):
            return {"probabilities": np.zeros((len(inputs["features"]), 2), np.float32)}

    (outputs,) = ask(cascaded(predictor(), Other()), features(60))
    assert b"teacher" not in outputs[ANSWERED_BY].tolist()


def test_a_teacher_in_the_process_is_asked_and_let_go_of(predictor):
    released = []
    teacher = LocalTeacher(predictor(), emitter(), lambda: released.append(True))
    inputs = features(60)
    (outputs,) = ask(cascaded(predictor(), teacher), inputs)
    np.testing.assert_allclose(outputs["probabilities"], expected_probabilities(inputs["features"]), rtol=1e-5)
    assert b"teacher" in outputs[ANSWERED_BY].tolist()
    assert released == [True]


def test_a_teacher_in_the_process_that_fails_is_not_waited_for(artifact, predictor, caplog):
    def fails(_):
        raise RuntimeError("out of memory")

    broken = Predictor(artifact.manifest, fails, limits=Limits(max_batch_size=64), inline=True, emitter=emitter())
    (outputs,) = ask(cascaded(predictor(), LocalTeacher(broken, emitter(), lambda: None)), features(60))
    assert b"unsure_student" in outputs[ANSWERED_BY].tolist()
    assert "out of memory" in caplog.text


def test_what_goes_to_whom_is_counted(predictor):
    reports = emitter()
    inputs = features(100)
    ask(cascaded(predictor(), Reversed(), reports=reports), inputs)
    _, sent = expected(inputs)
    points = reports.counter(conventions.CASCADE_ROWS).data(0, 1).data_points
    found = {point.attributes[conventions.ANSWERED_BY]: point.value for point in points}
    assert found == {"student": 100 - sent.sum(), "teacher": sent.sum()}
    assert reports.gauge(conventions.CASCADE_EXPECTED).data(0, 1).data_points[0].value == SHARE["value"]


def test_a_client_sees_one_model_with_an_output_more(predictor):
    async def main():
        app = ModelApp(cascaded(predictor(), Reversed()), max_body_bytes=10**6, emitter=emitter())
        app.start()
        path = "/v2/models/tiny"
        data = features(30)["features"]
        entry = {"name": "features", "datatype": "FP32", "shape": [30, 4], "data": data.tolist()}
        told = await call(app, Call(method="GET", path=path), path)
        infer = [
            await call(app, Call(method="POST", path=f"{path}/infer", body=json.dumps(body).encode()), path)
            for body in ({"inputs": [entry]}, {"inputs": [entry], "outputs": [{"name": "probabilities"}]})
        ]
        one = {"features": data[0].tolist()}
        generated = await call(app, Call(method="POST", path=f"{path}/generate", body=json.dumps(one).encode()), path)
        await app.stop()
        return [json.loads(each.body) for each in (told, *infer, generated)]

    told, whole, named, generated = asyncio.run(main())
    assert [each["name"] for each in told["outputs"]] == ["probabilities", ANSWERED_BY]
    assert told["outputs"][1] == {"name": ANSWERED_BY, "datatype": "BYTES", "shape": [-1]}
    assert whole["outputs"][0]["data"] == named["outputs"][0]["data"]
    assert set(whole["outputs"][1]["data"]) == {"student", "teacher"}
    assert [each["name"] for each in named["outputs"]] == ["probabilities"]
    assert generated[ANSWERED_BY] in ("student", "teacher")


def test_a_student_is_served_as_it_was_measured_or_not_at_all(artifact, predictor):
    manifest = artifact.manifest.model_copy(update={"cascade": FOUND})
    assert calibrated(manifest, "large") is FOUND
    with pytest.raises(ArtifactError, match="must say when it is sure"):
        calibrated(artifact.manifest, "large")
    with pytest.raises(ArtifactError, match=r"which artifact 'tiny' version 1 was measured with, large/7: 'other'"):
        calibrated(manifest, "other")
    with pytest.raises(ArtifactError, match="row by row"):
        cascaded(predictor(is_batched=False), Reversed())


def test_a_model_is_not_its_own_teacher():
    with pytest.raises(SettingsError, match="another model than 'tiny'"):
        parse(ModelSettings, {"artifact": "tiny", "cascade": {"teacher": "tiny"}}, "args")


def test_what_the_teacher_takes_is_counted_and_a_part_of_the_requests_trace(predictor):
    reports = emitter()
    trace = reports.begin(None)
    entered = current.set(trace)
    teacher = LocalTeacher(predictor(), emitter(), lambda: None)
    ask(cascaded(predictor(), teacher, reports=reports), features(500))
    current.reset(entered)
    (point,) = reports.histogram(conventions.TEACHER_DURATION).lifetime()
    assert point.count == len(trace.children) > 1
    assert {child.name for child in trace.children} == {"ask the teacher"}
    assert point.attributes == {conventions.MODEL_VERSION: "1"}
