"""`serve run` with replicas that end: by a request, which must not take them all with it, and by `kill`."""

import json
import os
import re
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from benchmarks.models import mlp
from benchmarks.servers import infer_path, processes, request_body, trimtab
from deployments.oip import inference_pb2
from tests.conftest import publish_tiny
from tests.deployments.ingress.deadly import DEADLY, DEATHS

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

WITHIN_S = 90.0
GOOD = 1.0


def body(value):
    features = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [value] * 4}
    return json.dumps({"inputs": [features]}).encode()


def asked(server, value):
    return httpx.post(f"{server.url}/v2/models/tiny/infer", content=body(value), timeout=WITHIN_S)


def by_grpc(server, value):
    """The status of a call by gRPC."""
    request = inference_pb2.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="features", datatype="FP32", shape=[1, 4])
    request.raw_input_contents.append(np.full(4, value, np.float32).tobytes())
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=inference_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=inference_pb2.ModelInferResponse.FromString,
        )
        try:
            call(request, timeout=WITHIN_S)
        except grpc.RpcError as error:
            return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def replicas(server):
    """The processes of replicas that have loaded the model."""
    return [process for process, command in processes(server) if "ServeReplica:tiny:Model" in command]


def wait_for(server, number, beside=()):
    """The replicas, so many and none of those `beside`, once the model answers."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        found = [process for process in replicas(server) if process not in beside]
        if len(found) == number and asked(server, GOOD).status_code == 200:
            return found
        time.sleep(0.2)
    raise AssertionError(server.log.read_text()[-3000:])


@contextmanager
def serving(folder, number):
    deaths = folder / "deaths"
    deaths.touch()
    environment = {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "tests.deployments.ingress.deadly:middlewares",
        "PYTHONPATH": os.pathsep.join((str(Path.cwd()), os.environ.get("PYTHONPATH", ""))),
        DEATHS: str(deaths),
    }
    scaling = {"min_replicas": number, "max_replicas": number}
    with trimtab(publish_tiny(folder), environment=environment, scaling=scaling) as server:
        yield server, lambda: len(deaths.read_text().splitlines())


@contextmanager
def clients(server, path, content, number=6, pause_s=0.0):
    """Ask all the time, every second client by a connection that stays; gives what has gone wrong, in the end."""
    stop, wrong, answered = threading.Event(), [], []

    def ask(client):
        while not stop.wait(pause_s):
            try:
                answer = client.post(server.url + path, content=content, timeout=WITHIN_S)
            except httpx.HTTPError as error:
                wrong.append(repr(error))
                continue
            (answered if answer.status_code == 200 else wrong).append(answer.text)

    threads = [threading.Thread(target=ask, args=(httpx.Client() if n % 2 else httpx,)) for n in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert answered


@pytest.mark.parametrize("number", [1, 2])
def test_a_request_that_kills_its_replica_kills_two_at_most(tmp_path, number):
    with serving(tmp_path, number) as (server, deaths):
        before = wait_for(server, number)
        answer = asked(server, DEADLY)
        assert (answer.status_code, deaths()) == (500, 2), answer.text
        wait_for(server, number, beside=before)
        assert by_grpc(server, GOOD)[0] == grpc.StatusCode.OK
        status, reason = by_grpc(server, DEADLY)
        assert status == grpc.StatusCode.INTERNAL, reason
        assert deaths() <= 4  # fewer where Ray's proxy still stood in: it sends a call once


@pytest.mark.parametrize("number", [1, 2])
def test_a_replica_that_is_killed_fails_no_request(tmp_path, number):
    with serving(tmp_path, number) as (server, deaths):
        found = wait_for(server, number)
        with clients(server, "/v2/models/tiny/infer", body(GOOD)) as wrong:
            for _ in range(2):
                time.sleep(1)
                found[0].kill()
                found = wait_for(server, number, beside=found[:1])
        assert wrong == []
        assert deaths() == 0


def listed(server):
    """How many replicas of the model HAProxy may send new requests to, as its newest configuration says."""
    files = {word for _, command in processes(server) for word in command.split() if word.endswith("haproxy.cfg")}
    (file,) = files
    config = Path(file).read_text()
    backend = re.search(r"^backend http-mlp\n((?: .*\n)*)", config, re.MULTILINE)
    return len(re.findall(r"^ +server SERVE_REPLICA", backend[1], re.MULTILINE)) if backend else 0


def test_a_replica_that_goes_is_first_asked_no_more_and_then_ends_and_no_request_fails(tmp_path):
    """Demand brings a second replica; it goes when a trickle is left, by connections that stay and new ones."""
    artifact = mlp(tmp_path, inputs=512, hidden=16384)
    path, content = infer_path(artifact), request_body(artifact)
    scaling = {"min_replicas": 1, "max_replicas": 2, "calm_s": 3.0}

    def running():
        return sum("ServeReplica:mlp:Model" in command for _, command in processes(server))

    def until(reached):
        deadline = time.monotonic() + WITHIN_S
        while not reached():
            assert time.monotonic() < deadline, (listed(server), running(), server.log.read_text()[-2000:])
            time.sleep(0.05)

    with trimtab(artifact, scaling=scaling, max_batch_size=8) as server:
        with clients(server, path, content, 2, pause_s=0.05) as trickle:
            with clients(server, path, content, 32) as flood:
                until(lambda: listed(server) == 2)
            until(lambda: listed(server) == 1)
            assert running() == 2  # what it had begun, it ends
            until(lambda: running() == 1)
            time.sleep(1)
        assert (flood, trickle) == ([], [])
