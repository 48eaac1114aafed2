"""A model that is watched, as a user serves it: `serve run`, two replicas, its teacher, labels, the page's figures."""

import time

import httpx
import numpy as np
import pytest

from benchmarks.servers import infer_path, trimtab
from optimization.artifact import store
from optimization.artifact.manifest import Measurement, Quality
from optimization.artifact.reference.measure import reference_of
from optimization.artifact.reference.reference import Fidelity
from optimization.artifact.reference.views import Views
from tests.conftest import expected_probabilities, publish_tiny

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]


def test_rows_the_teacher_and_labels_that_reach_any_replica_are_told_of_on_the_page(tmp_path):
    teacher = publish_tiny(tmp_path, "large")
    rows = np.random.default_rng(0).normal(size=(400, 4)).round(3)
    expected = expected_probabilities(rows)
    outputs = (teacher.manifest.outputs[0].model_copy(update={"meaning": "probabilities"}),)
    views = Views(teacher.manifest.inputs, outputs)
    quality = Quality(metric="accuracy", value=0.9, low=0.87, high=0.93, num_samples=400)
    student = store.publish(
        tmp_path,
        {store.MODEL: teacher.model_path},
        name="tiny",
        inputs=teacher.manifest.inputs,
        outputs=outputs,
        labels=("a", "b", "c"),
        measurements=(
            Measurement(step="distill", quality=quality, num_parameters=1, size_bytes=1, latency_s={1: 1e-4}),
        ),
        reference=reference_of(views, views.inputs({"features": rows}), views.outputs({"probabilities": expected})),
        fidelity=Fidelity(teacher="large/1", num_agreed=390, num_rows=400),
    )
    settings = {
        "shadow": {"teacher": "large", "share": 1.0, "max_per_s": 50.0},
        "feedback": {},
        "scaling": {"min_replicas": 2, "max_replicas": 2},
    }
    with (
        trimtab(student, beside=[teacher], **settings) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        for number, row in enumerate(rows):
            entry = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": row.tolist()}
            answer = client.post(infer_path(student), json={"id": f"r{number}", "inputs": [entry]})
            assert answer.status_code == 200, answer.text
        labels = [{"id": f"r{number}", "label": "abc"[each.argmax()]} for number, each in enumerate(expected)]
        answer = client.post("/v2/models/tiny/feedback", json={"labels": labels})
        assert answer.json() == {"joined": 400, "unknown": 0}, server.log.read_text()[-3000:]

        def told():
            versions = client.get("/telemetry/api/drift/tiny").json()["versions"]
            return versions[0] if versions else {"distributions": [], "fidelity": None, "accuracy": None}

        deadline = time.monotonic() + 60
        while not all((found := told())[share] and found[share]["rows"] for share in ("fidelity", "accuracy")):
            assert time.monotonic() < deadline, server.log.read_text()[-3000:]
            time.sleep(0.2)
        assert found["fidelity"]["value"] == found["accuracy"]["value"] == 1.0
        assert not any(each["is_drifted"] for each in found["distributions"])
        assert {"features[0]", "class", "confidence"} <= {each["name"] for each in found["distributions"]}
