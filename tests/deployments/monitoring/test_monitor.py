"""A replica's answers are watched beside the requests: sketches, the teacher's opinion, labels that come later."""

import asyncio
import time

import numpy as np
import orjson
import pytest

from deployments.batching.admission import Limits
from deployments.errors import RequestError, SettingsError
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http import asgi
from deployments.http.asgi import Call
from deployments.http.model import ModelApp
from deployments.monitoring import shadow as shadowing
from deployments.monitoring.feedback import Feedback, Label
from deployments.monitoring.monitor import Monitor
from deployments.monitoring.of_model import monitor_of
from deployments.monitoring.sampling import RowRate
from deployments.scatter.part import UnansweredError
from deployments.settings import FeedbackSettings, ModelSettings
from optimization.artifact.manifest import Measurement, Quality
from optimization.artifact.reference.measure import reference_of
from optimization.artifact.reference.reference import Fidelity
from optimization.artifact.reference.views import Views
from optimization.artifact.store import Artifact, ArtifactError
from telemetry import conventions
from telemetry.emitting.emitter import Emitter
from tests.conftest import expected_probabilities, publish_tiny

ROWS = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)


class Teacher:
    """Answers as the student does but for every tenth row, or not at all."""

    def __init__(self, name: str, version: str) -> None:
        self.is_there, self.asked, self.urgencies = True, 0, []

    def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def answer(self, inputs, urgency):
        self.urgencies.append(urgency)
        if not self.is_there:
            raise UnansweredError("it has gone")
        found = expected_probabilities(inputs["features"])
        for row in range(len(found)):
            self.asked += 1
            if self.asked % 10 == 0:
                found[row] = np.roll(found[row], 1)
        return {"probabilities": found}


class Served:
    """The tiny model with a reference, as an application whose answers are watched."""

    def __init__(self, root, **settings) -> None:
        plain = publish_tiny(root)
        outputs = (plain.manifest.outputs[0].model_copy(update={"meaning": "probabilities"}),)
        views = Views(plain.manifest.inputs, outputs)
        asked = views.inputs({"features": ROWS})
        answered = views.outputs({"probabilities": expected_probabilities(ROWS)})
        quality = Quality(metric="accuracy", value=0.9, low=0.8, high=0.95, num_samples=100)
        manifest = plain.manifest.model_copy(
            update={
                "outputs": outputs,
                "reference": reference_of(views, asked, answered),
                "fidelity": Fidelity(teacher="large/3", num_agreed=380, num_rows=400),
                "labels": ("a", "b", "c"),
                "measurements": (
                    Measurement(step="distill", quality=quality, num_parameters=1, size_bytes=1, latency_s={1: 1e-4}),
                ),
            }
        )
        artifact = Artifact(path=plain.path, manifest=manifest)
        self.emitter = Emitter(service="tiny", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:1")
        predictor = Predictor(
            manifest,
            Session(artifact, num_threads=1, max_batch_size=8).run,
            limits=Limits(max_batch_size=8),
            inline=True,
            emitter=self.emitter,
        )
        self.teachers: list[Teacher] = []
        parsed = ModelSettings(artifact="tiny", **settings)
        self.monitor = monitor_of(artifact, parsed, self.emitter, self._teacher)
        self.app = ModelApp(predictor, max_body_bytes=2**16, emitter=self.emitter, monitor=self.monitor)

    def _teacher(self, name, version):
        self.teachers.append(Teacher(name, version))
        return self.teachers[-1]

    async def post(self, action, body):
        path = f"/v2/models/tiny/{action}"
        answer = await asgi.call(self.app, Call(method="POST", path=path, body=orjson.dumps(body)), "/v2/models/tiny")
        return answer.status, orjson.loads(answer.body)

    async def infer(self, rows, request_id="r"):
        tensor = {"name": "features", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
        status, body = await self.post("infer", {"id": request_id, "inputs": [tensor]})
        assert status == 200, body
        return np.reshape(body["outputs"][0]["data"], body["outputs"][0]["shape"])

    def points(self, instrument, **attributes):
        """Bin counts by what is watched, else the total by attribute."""
        total = self.emitter._totals[instrument.name].data(0, 1)
        return [
            (point.attributes, list(getattr(point, "bucket_counts", [getattr(point, "value", 0)])))
            for point in total.data_points
            if all(point.attributes.get(name) == value for name, value in attributes.items())
        ]

    def watched(self, name):
        ((attributes, counts),) = self.points(conventions.DRIFT_ROWS, **{conventions.WATCHED: name})
        return attributes, counts


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def test_rows_are_counted_into_the_references_bins_and_bear_what_the_reference_held(served):
    async def main():
        served.app.start()
        await served.infer(ROWS[:4])

    asyncio.run(main())
    served.monitor.drain()
    attributes, counts = served.watched("features[0]")
    reference = [int(count) for count in attributes[conventions.REFERENCE_COUNTS].split(",")]
    assert sum(reference) == 400
    assert (len(counts), sum(counts)) == (10, 4)
    assert attributes[conventions.MODEL_VERSION] == "1"
    assert sum(served.watched("class")[1]) == sum(served.watched("logits.projection0")[1]) == 4


def test_values_that_are_missing_or_out_of_range_are_counted_by_column(served):
    rows = np.zeros((3, 4), np.float32)
    rows[0, 1], rows[1, 2] = np.nan, 1e6
    served.monitor.see("r", {"features": rows}, {"probabilities": expected_probabilities(np.nan_to_num(rows))})
    served.monitor.drain()
    found = {
        (attributes[conventions.WATCHED], attributes[conventions.DATA_PROBLEM]): counts
        for attributes, counts in served.points(conventions.DATA_PROBLEMS)
    }
    assert found == {("features[1]", "missing"): [1], ("features[2]", "out_of_range"): [1]}
    assert served.watched("missing")[1] == [2, 1]
    assert served.watched("out_of_range")[1] == [2, 1]


def test_an_artifact_without_a_reference_is_served_and_not_watched(tmp_path):
    artifact = publish_tiny(tmp_path)
    emitter = Emitter(service="t", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:1")
    assert monitor_of(artifact, ModelSettings(artifact="tiny"), emitter, Teacher) is None


def test_no_more_rows_are_looked_at_than_the_rate_allows_and_fewer_of_a_large_request(served):
    for _ in range(100):
        served.monitor.see("r", {"features": ROWS}, {"probabilities": expected_probabilities(ROWS)})
    served.monitor.drain()
    assert 8 <= sum(served.watched("features[0]")[1]) <= 24


def test_a_row_that_is_dear_lowers_the_rate_so_that_a_hundredth_of_a_cpu_is_enough():
    rate = RowRate(rows_per_s=50.0)
    rate.cost(cpu_s=0.5, num_rows=10)  # 50 ms a row: 0.2 rows a second
    began_s = time.monotonic()
    rate.took(1)
    assert not rate.is_open()
    assert rate._next_s - began_s == pytest.approx(5.0, abs=0.5)


def test_the_teacher_is_asked_beside_the_request_after_all_others_and_agreement_is_counted(tmp_path):
    served = Served(tmp_path, shadow={"teacher": "large", "share": 1.0, "max_per_s": 1e6})

    async def main():
        served.app.start()
        for row in range(40):
            await served.infer(ROWS[row : row + 1])
            while served.monitor.shadow._asked:
                await asyncio.sleep(0)
        await served.app.stop()

    asyncio.run(main())
    ((attributes, counts),) = served.points(conventions.FIDELITY_ROWS)
    assert counts == [36, 4]
    assert attributes[conventions.REFERENCE_COUNTS] == "380,20"
    (teacher,) = served.teachers
    assert all(urgency.rank > 2**64 for urgency in teacher.urgencies)


def test_a_teacher_that_has_gone_costs_no_answer_and_is_left_alone(tmp_path):
    served = Served(tmp_path, shadow={"teacher": "large", "share": 1.0, "max_per_s": 1e6})
    served.teachers[0].is_there = False

    async def main():
        served.app.start()
        for row in range(10):
            found = await served.infer(ROWS[row : row + 1])
            assert np.allclose(found, expected_probabilities(ROWS[row : row + 1]), atol=1e-5)
            await asyncio.sleep(0)
        await served.app.stop()

    asyncio.run(main())
    assert len(served.teachers[0].urgencies) == 1
    ((attributes, counts),) = served.points(conventions.SHADOW_ROWS)
    assert (attributes[conventions.ERROR_TYPE], counts) == ("UnansweredError", [1])


def test_while_a_slow_teacher_thinks_no_more_is_asked_of_it(tmp_path):
    served = Served(tmp_path, shadow={"teacher": "large", "share": 1.0, "max_per_s": 1e6})

    async def main():
        never = asyncio.Event()

        async def slow(inputs, urgency):
            served.teachers[0].asked += 1
            await never.wait()

        served.teachers[0].answer = slow
        served.app.start()
        for row in range(10):
            await served.infer(ROWS[row : row + 1])
            await asyncio.sleep(0)
        assert served.teachers[0].asked == shadowing.MOST_ASKED
        await served.app.stop()

    asyncio.run(main())


def test_a_shadow_must_be_the_teacher_whose_agreement_was_measured(tmp_path):
    with pytest.raises(ArtifactError, match=r"shadow\.teacher must be the one whose agreement with artifact 'tiny'"):
        Served(tmp_path, shadow={"teacher": "stranger"})


def test_labels_join_the_answers_they_are_of_once_and_the_unknown_are_counted(tmp_path):
    served = Served(tmp_path, feedback={})
    right = expected_probabilities(ROWS[:3]).argmax(axis=1).tolist()

    async def main():
        served.app.start()
        await served.infer(ROWS[:3], "abc")
        labels = [
            {"id": "abc", "row": 0, "label": right[0], "attributes": {"region": "eu"}},
            {"id": "abc", "row": 1, "label": (right[1] + 1) % 3, "attributes": {"region": "us"}},
            {"id": "never", "label": 0},
        ]
        assert await served.post("feedback", {"labels": labels}) == (200, {"joined": 2, "unknown": 1})
        assert await served.post("feedback", {"labels": labels[:1]}) == (200, {"joined": 0, "unknown": 1})
        name = {"id": "abc", "row": 2, "label": "abc"[right[2]]}
        assert await served.post("feedback", {"labels": [name]}) == (200, {"joined": 1, "unknown": 0})
        status, body = await served.post("feedback", {"labels": [name | {"label": "z"}]})
        assert (status, body["error"]) == (400, "label must be one of a, b, c, got 'z'")
        status, body = await served.post("feedback", {"labels": [{"label": 1}]})
        assert status == 400
        assert body["error"].startswith("labels.0.id: Field required")

    asyncio.run(main())
    told = served.points(conventions.ACCURACY_ROWS)
    ((_, whole),) = [each for each in told if conventions.REFERENCE_COUNTS in each[0]]
    assert whole == [2, 1]
    regions = {
        attributes[conventions.SEGMENT_VALUE]: counts
        for attributes, counts in told
        if attributes.get(conventions.SEGMENT) == "region"
    }
    assert regions == {"eu": [1, 0], "us": [0, 1]}


def of_numbers(tmp_path):
    """A manifest whose model answers with one number a row, and feedback that keeps the answers."""
    manifest = publish_tiny(tmp_path).manifest
    outputs = (manifest.outputs[0].model_copy(update={"meaning": "values", "shape": ("batch", 1)}),)
    return manifest.model_copy(update={"outputs": outputs, "labels": None})


def test_a_number_is_right_within_the_tolerance(tmp_path):
    manifest = of_numbers(tmp_path)
    emitter = Emitter(service="tiny", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:1")
    feedback = Feedback(manifest, FeedbackSettings(tolerance=0.5), emitter)
    answers = np.array([[1.0], [2.0], [3.0]], np.float32)
    feedback.keep("abc", {"features": ROWS[:3]}, {manifest.outputs[0].name: answers})
    labels = [Label(id="abc", row=row, label=label) for row, label in enumerate((1.4, 3, 2.5))]
    assert feedback.join(labels) == {("abc", 0), ("abc", 1), ("abc", 2)}
    points = emitter._totals[conventions.ACCURACY_ROWS.name].data(0, 1).data_points
    (whole,) = [each for each in points if conventions.SEGMENT not in each.attributes]
    assert list(whole.bucket_counts) == [2, 1]
    with pytest.raises(RequestError, match="label must be a finite number"):
        feedback.join([Label(id="abc", label="big")])


@pytest.mark.parametrize(
    ("shape", "meaning", "feedback", "problem"),
    [
        (("batch", 1), "values", {}, "feedback.tolerance must say when an answer is right"),
        (("batch", 3), "probabilities", {"tolerance": 0.5}, "feedback.tolerance must be left out"),
        (("batch", "tokens", 5), "logits", {}, "neither a class nor a number of each row"),
        (("batch", 4), "values", {"tolerance": 0.5}, "neither a class nor a number of each row"),
    ],
    ids=["numbers", "classes", "tokens", "several numbers"],
)
def test_feedback_that_does_not_fit_the_model_is_refused(tmp_path, shape, meaning, feedback, problem):
    plain = publish_tiny(tmp_path)
    outputs = (plain.manifest.outputs[0].model_copy(update={"meaning": meaning, "shape": shape}),)
    artifact = Artifact(path=plain.path, manifest=plain.manifest.model_copy(update={"outputs": outputs}))
    emitter = Emitter(service="tiny", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:1")
    with pytest.raises(SettingsError, match=problem):
        monitor_of(artifact, ModelSettings(artifact="tiny", feedback=feedback), emitter, Teacher)


def test_answers_are_kept_for_so_many_requests(tmp_path):
    served = Served(tmp_path, feedback={"max_requests": 2})

    async def main():
        served.app.start()
        for name in "abc":
            await served.infer(ROWS[:1], name)
        labels = [{"id": name, "label": 0} for name in "abc"]
        assert await served.post("feedback", {"labels": labels}) == (200, {"joined": 2, "unknown": 1})

    asyncio.run(main())


def test_a_model_that_keeps_no_answers_says_how_it_would(served):
    status, body = asyncio.run(served.post("feedback", {"labels": [{"id": "a", "label": 0}]}))
    assert status == 404
    assert "set feedback in its args" in body["error"]


def test_what_cannot_be_looked_at_is_left_out_and_the_rest_goes_on():
    class Broken:
        def count(self, tensors, outputs):
            raise ValueError("no such thing")

    monitor = Monitor(sketches=Broken())
    monitor.see("r", {"x": ROWS[:1]}, {"y": ROWS[:1]})
    monitor.drain()
    assert monitor._failures.counts
