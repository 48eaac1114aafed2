"""Large requests to a real server of two replicas: one takes them all, of the other a client that leaves wants nothing
more, and it is killed."""

import http.client
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
    """Where a replica listens for the ingress, if it does yet: what asks it there has chosen who takes the request."""
    listening = [each.laddr.port for each in replica.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    return next((port for port in listening if 30_000 <= port < 31_000), None)


def message(rows):
    """A request for those rows: its body and headers."""
    entry = {"name": "x", "datatype": "FP32", "shape": rows.shape, "parameters": {"binary_data_size": rows.nbytes}}
    head = json.dumps({"inputs": [entry]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    return head + rows.tobytes(), headers


def cpu_s(process):
    times = process.cpu_times()
    return times.user + times.system


def spent_after_leaving(replica, port, path, rows):
    """CPU seconds of a replica from when it works on its part of `rows`, and the client leaves, until it rests."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    before = cpu_s(replica)
    connection.request("POST", path, *message(rows))
    deadline = time.monotonic() + 20
    while cpu_s(replica) - before < 0.03:
        assert time.monotonic() < deadline, "it was not asked"
        time.sleep(0.005)
    connection.close()
    left_at, last = cpu_s(replica), -1.0
    while cpu_s(replica) - last > 0.03:
        last = cpu_s(replica)
        time.sleep(1.0)
    return last - left_at


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_two_replicas_share_large_requests_and_none_fails_when_one_of_them_is_killed(tmp_path):
    artifact = mlp(tmp_path, inputs=INPUTS, hidden=2**18)
    rows = np.random.default_rng(0).standard_normal((ROWS, INPUTS)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(artifact.model_path).run(["y"], {"x": rows})
    answers, errors, stop = [], [], threading.Event()

    def ask():
        request = urllib.request.Request(f"http://127.0.0.1:{port}{infer_path(artifact)}", *message(rows))
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
        while len(found := [each for each in replicas_of(server, artifact.manifest.name) if port_of(each)]) < 2:
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
        assert spent_after_leaving(lost, port, infer_path(artifact), np.tile(rows, (4, 1))) < 0.25 * sum(shared_s)
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
