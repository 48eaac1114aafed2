"""Large requests to a real server of two replicas: one takes them all, the other is killed meanwhile."""

import json
import threading
import time
import urllib.request

import numpy as np
import onnxruntime
import psutil
import pytest

from benchmarks.models import mlp
from benchmarks.servers import infer_path, processes, trimtab

ROWS, INPUTS = 1000, 32
CLIENTS = 3
AFTER_S = 6.0
"""How long requests go on after the kill: until Serve has a new replica, about."""


def replicas_of(server, name):
    return [process for process, command in processes(server) if f"ServeReplica:{name}:Model" in command]


def port_of(replica):
    """Where a replica listens for the ingress: what asks it there has chosen who takes the request."""
    listening = [each.laddr.port for each in replica.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    (port,) = [port for port in listening if 30_000 <= port < 31_000]
    return port


def cpu_s(process):
    times = process.cpu_times()
    return times.user + times.system


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_two_replicas_share_large_requests_and_none_fails_when_one_of_them_is_killed(tmp_path):
    artifact = mlp(tmp_path, inputs=INPUTS, hidden=2**16)
    rows = np.random.default_rng(0).standard_normal((ROWS, INPUTS)).astype(np.float32)
    entry = {"name": "x", "datatype": "FP32", "shape": [ROWS, INPUTS], "parameters": {"binary_data_size": rows.nbytes}}
    head = json.dumps({"inputs": [entry]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    (expected,) = onnxruntime.InferenceSession(artifact.model_path).run(["y"], {"x": rows})
    answers, errors, stop = [], [], threading.Event()

    def ask():
        url = f"http://127.0.0.1:{port}{infer_path(artifact)}"
        request = urllib.request.Request(url, head + rows.tobytes(), headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return np.array(json.load(response)["outputs"][0]["data"]).reshape(expected.shape)

    def client():
        while not stop.is_set():
            try:
                answers.append(ask())
            except OSError as error:
                errors.append(error)

    with trimtab(artifact, scaling={"min_replicas": 2, "max_replicas": 2}) as server:
        deadline = time.monotonic() + 60
        while len(found := replicas_of(server, artifact.manifest.name)) < 2:
            assert time.monotonic() < deadline, server.log.read_text()[-3000:]
            time.sleep(0.2)
        lost, kept = found
        port = port_of(kept)
        shared_s = [0.0, 0.0]
        while min(shared_s) < 0.25 * max(shared_s) or not max(shared_s):  # the second may still be starting
            assert time.monotonic() < deadline, shared_s
            before = [cpu_s(process) for process in found]
            np.testing.assert_allclose(ask(), expected, rtol=1e-3, atol=1e-3)
            shared_s = [cpu_s(process) - was for process, was in zip(found, before, strict=True)]
        clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for each in clients:
            each.start()
        time.sleep(2.0)
        num_before = len(answers)
        lost.kill()
        time.sleep(AFTER_S)
        stop.set()
        for each in clients:
            each.join()
    assert not errors
    assert len(answers) > num_before > 0
    for answer in answers:
        np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-3)
