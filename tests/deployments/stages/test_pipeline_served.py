"""A pipeline as a user serves it: `serve run`, HTTP, Ray's object store, replicas that are killed."""

import threading
import time

import httpx
import numpy as np
import pytest

from benchmarks.servers import pipeline, processes
from tests.conftest import expected_probabilities, publish_tiny

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)
CLIENTS = 4
NARROW = {"datatype": "FP32", "shape": ["batch", 4]}
WIDE = {"datatype": "FP32", "shape": ["batch", "width"]}


def stages():
    """4 MiB a row go from one process to the next, and what comes of them to a model of two replicas."""
    called = "tests.deployments.stages.functions:"
    yield {
        "name": "grow",
        "call": f"{called}large",
        "takes": [{"name": "x", **NARROW}],
        "gives": [{"name": "y", **WIDE}],
        "num_cpus": 0.1,
    }
    yield {
        "name": "shrink",
        "call": f"{called}narrow",
        "takes": [{"name": "x", **WIDE}],
        "gives": [{"name": "y", **NARROW}],
        "inputs": {"x": "grow.y"},
        "num_cpus": 0.1,
    }
    yield {
        "name": "model",
        "artifact": "tiny",
        "inputs": {"features": "shrink.y"},
        "settings": {"scaling": {"min_replicas": 2, "max_replicas": 2}},
        "num_cpus": 0.1,
    }


def replicas_of(server, stage):
    return [process for process, command in processes(server) if f"ServeReplica:chain:{stage}" in command]


def test_requests_go_through_all_stages_and_none_fails_when_a_replica_is_killed_be_it_the_only_one(tmp_path):
    publish_tiny(tmp_path)
    args = {"pipeline": "chain", "artifacts": str(tmp_path), "stages": list(stages())}
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": ROWS.ravel().tolist()}]}
    with (
        pipeline(args | {"outputs": {"probabilities": "model.probabilities"}}) as server,
        httpx.Client(base_url=f"{server.url}/v2/models/chain", timeout=30) as client,
    ):
        described = client.get("").json()
        assert [each["name"] for each in described["inputs"] + described["outputs"]] == ["x", "probabilities"]
        answers, failures, stop = [], [], threading.Event()

        def ask():
            while not stop.is_set():
                response = client.post("/infer", json=body)
                if response.status_code == 200:
                    answers.append(response.json()["outputs"][0]["data"])
                else:
                    failures.append(response.text)

        clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
        for each in clients:
            each.start()
        while not answers:
            time.sleep(0.05)
        deadline = time.monotonic() + 60
        while len(found := replicas_of(server, "model")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        before = len(answers)
        found[0].kill()
        time.sleep(4)
        stop.set()
        for each in clients:
            each.join()
        assert not failures
        assert len(answers) > before + 10
        for answer in answers:
            np.testing.assert_allclose(np.reshape(answer, (2, 3)), expected_probabilities(ROWS), rtol=1e-4)

        (only,) = replicas_of(server, "grow")
        only.kill()
        waited = client.post("/infer", json=body)  # for the one that takes its place
        assert waited.status_code == 200, waited.text
        assert replicas_of(server, "grow") != [only]
