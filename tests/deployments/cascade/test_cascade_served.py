"""A cascade as a user serves it: `serve run`, two applications, and a teacher that is killed."""

import time

import httpx
import numpy as np
import pytest

from benchmarks.servers import infer_path, replica, trimtab
from optimization.artifact import store
from tests.conftest import expected_probabilities, publish_tiny
from tests.deployments.stages.measured import FOUND, SURE

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]


def test_unsure_rows_are_the_teachers_until_it_is_killed_and_again_once_it_is_back(tmp_path):
    teacher = publish_tiny(tmp_path, "large")
    known = {name: getattr(teacher.manifest, name) for name in ("inputs", "outputs", "labels")}
    found = FOUND.model_copy(update={"teacher": "large/1"})
    student = store.publish(tmp_path, {store.MODEL: teacher.model_path}, name="tiny", **known, cascade=found)
    rows = np.random.default_rng(0).normal(scale=2, size=(200, 4)).round(3)
    entry = {"name": "features", "datatype": "FP32", "shape": list(rows.shape), "data": rows.tolist()}
    expected = expected_probabilities(rows)
    unsure = expected.max(axis=1) < SURE

    with (
        trimtab(student, beside=[teacher], cascade={"teacher": "large"}) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):

        def answered_by():
            answer = client.post(infer_path(student), json={"inputs": [entry]})
            assert answer.status_code == 200, answer.text
            probabilities, who = answer.json()["outputs"]
            np.testing.assert_allclose(np.reshape(probabilities["data"], expected.shape), expected, rtol=1e-4)
            assert {name for name, each in zip(who["data"], unsure, strict=True) if not each} == {"student"}
            return {name for name, each in zip(who["data"], unsure, strict=True) if each}

        def wait_for(name):
            deadline = time.monotonic() + 60
            while answered_by() != {name}:
                assert time.monotonic() < deadline, server.log.read_text()[-3000:]
                time.sleep(0.1)

        wait_for("teacher")
        replica(server, "large").kill()
        wait_for("unsure_student")
        wait_for("teacher")
