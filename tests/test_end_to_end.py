"""The whole loop on the seed example: recipe, two train workers, artifact, `serve run`, HTTP, collector, alert, Ctrl-C.

The model is the mission's own: Dense(8 -> 10, relu) -> Dense(1, sigmoid), distilled, its weights cut at 0.01, in INT8.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import numpy as np
import onnxruntime
import psutil
import pytest

from benchmarks.load import drive
from benchmarks.servers import replica, trimtab, wait_until_ready
from benchmarks.swaps import published, wait_for
from benchmarks.watch import alerts, requests, seconds_until, stutter
from deployments.oip import inference_pb2 as oip
from deployments.oip.grpc_service import SERVICE
from optimization.artifact.store import EXAMPLE, find, load
from tests.conftest import free_port
from tests.served import publish_all, wait_until_said

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

CLIENTS = Path(".venv-clients/bin/pytest")
ROWS = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """The seed recipe, run beside a standalone collector: its artifact, and what the collector heard."""
    folder = tmp_path_factory.mktemp("seed")
    grpc, page = free_port(), free_port()
    ports = ["--grpc-port", str(grpc), "--http-port", str(free_port()), "--page-port", str(page)]
    collector = subprocess.Popen(
        [sys.executable, "-m", "telemetry", *ports],
        stdout=(folder / "collector.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        wait_until_ready(collector, folder / "collector.log", f"http://127.0.0.1:{page}/api/services")
        command = [sys.executable, "-m", "optimization", "optimization/recipes/seed.yaml"]
        subprocess.run(
            [*command, "--artifacts", str(folder), "--runs", str(folder / "runs")],  # nothing is used again
            env=os.environ | {"TRIMTAB_COLLECTOR": f"http://localhost:{grpc}"},
            check=True,
            timeout=600,
        )
        heard = httpx.get(f"http://127.0.0.1:{page}/api/services").json()["services"]
        plots = httpx.get(f"http://127.0.0.1:{page}/api/series", params={"service": "seed"}).json()["plots"]
    finally:
        collector.send_signal(signal.SIGINT)
        collector.wait(20)
    return load(find(folder, "seed")), heard, {plot["key"] for plot in plots}


@pytest.fixture(scope="module")
def server(training, tmp_path_factory):
    """The artifact, and the models that clients are tried with, served by `serve run`; what the last test does not
    stop is stopped here."""
    root = tmp_path_factory.mktemp("beside")
    with trimtab(training[0], beside=publish_all(root), version=None) as running:
        yield running


def infer(server, rows, **changes):
    body = json.loads(request_of(rows))
    body["inputs"][0] |= changes
    return httpx.post(f"{server.url}/v2/models/seed/infer", json=body)


INPUT = "features"


def expected(artifact, rows):
    session = onnxruntime.InferenceSession(artifact.model_path, providers=["CPUExecutionProvider"])
    return session.run(None, {INPUT: rows})[0]


def test_the_recipe_makes_the_missions_own_model(training):
    artifact, _, _ = training
    manifest = artifact.manifest
    assert [(spec.name, spec.shape) for spec in manifest.inputs] == [(INPUT, ("batch", 8))]
    assert [spec.shape for spec in manifest.outputs] == [("batch", 1)]
    steps = {measured.step: measured for measured in manifest.measurements}
    assert steps["distill"].num_parameters == 8 * 10 + 10 + 10 * 1 + 1
    assert steps["sparsify"].sparsity >= steps["distill"].sparsity
    assert steps["quantize"].quality.value > 0.8
    assert "control" in steps


def test_each_train_worker_reported(training):
    _, heard, plots = training
    (seed,) = [service for service in heard if service["name"] == "seed"]
    assert seed["roles"] == ["train_worker"]
    assert {"loss", "step", "training", "cpu", "memory"} <= plots


def test_the_served_model_answers_as_onnxruntime_does(server, training):
    answer = infer(server, ROWS)
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    np.testing.assert_allclose(np.reshape(output["data"], (5, 1)), expected(training[0], ROWS), atol=1e-6)


def test_the_artifacts_own_example_is_answered_and_the_banner_names_it(server, training):
    example = training[0].path / EXAMPLE
    answer = httpx.post(f"{server.url}/v2/models/seed/infer", content=example.read_bytes())
    assert answer.status_code == 200, answer.text
    wait_until_said(server, f"curl -s http://localhost:{server.http_port}/v2/models/seed/infer -d @")


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"name": "x"}, 400, "input names must be 'features', got 'x'"),
        ({"shape": [5, 7]}, 400, "shape must be [batch, 8]"),
        ({"datatype": "INT8"}, 400, "must be FP32"),
        ({"data": [1e39] * 40}, 400, "must be finite"),
    ],
)
def test_a_wrong_request_is_refused_and_the_service_goes_on(server, changes, status, said):
    refused = infer(server, ROWS, **changes)
    assert refused.status_code == status
    assert said in refused.json()["error"]
    assert infer(server, ROWS).status_code == 200


def test_a_lost_path_and_too_large_a_body_are_refused_and_the_service_goes_on(server):
    lost = httpx.post(f"{server.url}/v2/models/nothing/infer", json={})
    assert (lost.status_code, lost.json()) == (
        404,
        {"error": "Request for unknown model: 'nothing' is not served, only same, same_bf16, seed, simple"},
    )
    large = httpx.post(f"{server.url}/v2/models/seed/infer", content=bytes(65 * 2**20), timeout=30)
    assert large.status_code == 413
    assert "at most 67108864 bytes" in large.json()["error"]
    assert infer(server, ROWS).status_code == 200


def test_otlp_that_is_no_protobuf_is_refused_and_the_collector_goes_on(server):
    url = f"http://127.0.0.1:{server.otlp_http_port}/v1/metrics"
    headers = {"content-type": "application/x-protobuf"}
    assert httpx.post(url, content=b"\xff\xff not protobuf", headers=headers).status_code == 400
    assert httpx.post(url, content=b"", headers=headers).status_code == 200


def test_the_page_comes_through_the_ingress(server):
    page = httpx.get(f"{server.url}/telemetry", follow_redirects=True)
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    assert httpx.get(f"{server.url}/telemetry/uPlot.iife.min.js").status_code == 200


def test_a_clients_trace_goes_on_in_the_replica(server):
    trace_id = os.urandom(16).hex()
    body, headers = one_row(), {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    assert httpx.post(f"{server.url}/v2/models/seed/infer", content=body, headers=headers).status_code == 200
    deadline = time.time() + 15
    while time.time() < deadline:
        found = httpx.get(f"{server.url}/telemetry/api/series", params={"service": "seed"})
        if found.status_code == 404:  # the replica has not reported yet
            assert "must be one that has reported" in found.json()["error"]
        elif trace_id in json.dumps(found.json()["traces"]):
            return
        time.sleep(0.5)
    pytest.fail(f"trace {trace_id} did not reach the collector")


def test_what_goes_wrong_is_flagged_within_15_s(server):
    """An error burst, a flood that makes requests wait in the replica, and a replica that stutters, which shows only
    at the ingress: while it is stopped it reads no requests."""
    path = "/v2/models/seed/infer"
    began = time.time()
    seconds = {}
    with requests(server.url + path, one_row(), per_s=40):
        time.sleep(40)
        calm = [each for each in alerts(server, began) if each["signal"] != "event_loop"]  # a busy machine's is told
        assert calm == []
        with requests(server.url + path, b"{", per_s=40):
            seconds["error burst"] = seconds_until(server, "client_errors", "seed")
        with stutter(replica(server, "seed")):
            seconds["stutter"] = seconds_until(server, "latency", "ingress")
        flood = {"port": server.http_port, "path": path, "body": full_batch(), "connections": 64, "duration_s": 15}
        flooding = threading.Thread(target=drive, kwargs=flood)
        flooding.start()
        seconds["flood"] = seconds_until(server, "latency", "seed")
        flooding.join()
    assert None not in seconds.values(), seconds


def test_a_new_version_takes_over_and_fails_no_request(server, training):
    old = training[0]
    load = {"port": server.http_port, "path": "/v2/models/seed/infer", "body": one_row()}
    with ThreadPoolExecutor() as clients:
        loaded = clients.submit(drive, connections=8, duration_s=5, **load)
        new = published(old, old.path.parents[1])
        wait_for(server, new)
        assert loaded.result().num_failed == 0
    index = httpx.post(f"{server.url}/v2/repository/index").json()
    assert {(each["version"], each["state"]) for each in index if each["name"] == "seed"} == {
        (version.manifest.version, "READY") for version in (old, new)
    }
    addressed = httpx.post(f"{server.url}/v2/models/seed/versions/{old.manifest.version}/infer", content=one_row())
    assert addressed.json()["model_version"] == old.manifest.version


def test_a_killed_replica_fails_no_request(server):
    """HAProxy sends the request again; while there is no replica, requests wait for the next."""
    failed = []
    process = replica(server, "seed")
    for number in range(100):
        if number == 20:
            process.kill()
        answer = httpx.post(f"{server.url}/v2/models/seed/infer", content=one_row(), timeout=60)
        if answer.status_code != 200:
            failed.append((number, answer.status_code, answer.text))
        time.sleep(0.02)
    assert failed == []
    assert replica(server, "seed").pid != process.pid


@pytest.mark.clients
@pytest.mark.skipif(not CLIENTS.exists(), reason="the protocol's clients are not installed: `make test` installs them")
@pytest.mark.parametrize("suite", sorted(Path("tests/clients").glob("check_*.py")), ids=lambda path: path.stem)
def test_unmodified_clients_are_answered(server, suite):
    """Late in this file: their wrong requests would teach the detectors that errors are usual."""
    addresses = {"TRIMTAB_HTTP": f"127.0.0.1:{server.http_port}", "TRIMTAB_GRPC": f"127.0.0.1:{server.grpc_port}"}
    command = [
        CLIENTS,
        "-c",
        os.devnull,
        "--rootdir",
        suite.parent,
        "--confcutdir",
        suite.parent,
        "-p",
        "no:cacheprovider",
        "-q",
        suite,
    ]
    ran = subprocess.run(command, env=os.environ | addresses, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-1000:]


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
@pytest.mark.parametrize("way", ["unary", "stream"])
@pytest.mark.parametrize(("size_bytes", "said"), [(8 * 2**20, "got 8388608"), (80 * 2**20, "larger than max")])
def test_a_large_message_reaches_its_model_whichever_way_and_a_too_large_one_is_told_so(
    server, way, compression, size_bytes, said
):
    """Streams and compressed messages go by way of `server`, where 4 MiB were the most. The model refuses the size."""
    tensor = oip.ModelInferRequest.InferInputTensor(name=INPUT, datatype="FP32", shape=[1, 8])
    request = oip.ModelInferRequest(model_name="seed", inputs=[tensor], raw_input_contents=[bytes(size_bytes)])
    body, options = request.SerializeToString(), {"timeout": 60, "compression": compression}
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        try:
            if way == "unary":
                channel.unary_unary(f"/{SERVICE}/ModelInfer")(body, **options)
            (raw,) = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(iter([body]), **options)
            code, found = None, oip.ModelStreamInferResponse.FromString(raw).error_message
        except grpc.RpcError as error:
            code, found = error.code(), error.details()
    assert said in found
    if size_bytes > 64 * 2**20:
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    else:
        assert code in (None, grpc.StatusCode.INVALID_ARGUMENT)


def test_a_page_of_another_site_can_do_nothing_and_curl_goes_on(server, training):
    unload, infer_at = f"{server.url}/v2/repository/models/seed/unload", f"{server.url}/v2/models/seed/infer"
    for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}, {"content-type": "text/plain"}):
        assert httpx.post(unload, headers=headers).status_code == 403, headers
    assert httpx.post(infer_at, headers={"origin": "http://evil.example"}, content=one_row()).status_code == 403
    assert httpx.get(f"{server.url}/telemetry", headers={"host": "evil.example"}).status_code == 403
    example = f"@{training[0].path / EXAMPLE}"
    curl = subprocess.run(["curl", "-sf", infer_at, "-d", example], capture_output=True, timeout=20, check=True)
    assert json.loads(curl.stdout)["model_name"] == "seed"


def test_ctrl_c_leaves_no_process_and_no_port(server):
    children = descendants(server)
    assert any("/haproxy " in command_line(child) for child in children)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
    assert "graceful_shutdown failed" not in server.log.read_text()  # as Ray's own way ends
    _, alive = psutil.wait_procs(children, 5)
    assert not alive
    for port in (server.http_port, server.otlp_grpc_port, server.otlp_http_port):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/")


def descendants(server):
    return psutil.Process(server.process.pid).children(recursive=True)


def command_line(process):
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def one_row():
    return request_of(ROWS[:1])


def full_batch():
    return request_of(np.tile(ROWS, (12, 1)))


def request_of(rows):
    entry = {"name": INPUT, "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
    return json.dumps({"inputs": [entry]}).encode()
