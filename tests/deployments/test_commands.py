"""The command line: requests made of files, a load test's figures, keys, and what it says when something is wrong."""

import asyncio
import json
import threading
import time

import numpy as np
import pytest
import uvicorn

from deployments.__main__ import main
from deployments.access import keys
from deployments.commands import bench, infer
from deployments.commands.client import Client
from deployments.errors import InputError
from deployments.oip.requests import decode
from deployments.oip.responses import describe
from optimization.artifact.manifest import TensorSpec
from tests.conftest import free_port

SPEC = TensorSpec(name="features", datatype="FP32", shape=("batch", 4))
TEXT = TensorSpec(name="text", datatype="BYTES", shape=("batch",))
DESCRIBED = {
    "name": "m",
    "inputs": [describe(SPEC)],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
    "raw_input": describe(TEXT),
}


def decoded(file, described=DESCRIBED, **options):
    """What the server's own protocol code reads from the request that `file` becomes."""
    body, headers = infer.request_of(file, described, **options)
    return decode(body, headers.get("Inference-Header-Content-Length"), [SPEC], ["y"], TEXT)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


@pytest.mark.parametrize("array", [np.eye(4), np.arange(4), np.ones((2, 4), np.float16)])
def test_an_array_is_sent_as_the_model_takes_it(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    if array.dtype.kind == "i":
        with pytest.raises(InputError, match="must hold elements of FP32, got int64"):
            decoded(tmp_path / "x.npy")
        return
    request = decoded(tmp_path / "x.npy")
    np.testing.assert_array_equal(request.inputs["features"], np.atleast_2d(array))


def test_elements_as_json_become_the_one_input(write):
    np.testing.assert_array_equal(decoded(write("x.json", "[1, 2, 3, 4]")).inputs["features"], [[1, 2, 3, 4]])
    np.testing.assert_array_equal(decoded(write("x.json", "[[1, 2, 3, 4.5]]")).inputs["features"], [[1, 2, 3, 4.5]])


def test_a_whole_request_is_sent_as_it_is(write):
    entry = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    request = decoded(write("x.json", json.dumps({"id": "7", "inputs": [entry]})))
    assert request.id == "7"
    np.testing.assert_array_equal(request.inputs["features"], [[1, 2, 3, 4]])


def test_each_line_of_text_is_a_sample_and_a_picture_is_one(write):
    assert decoded(write("x.txt", "ein Satz\n\nnoch ein Satz\n")).inputs["text"].tolist() == [
        b"ein Satz",
        b"noch ein Satz",
    ]
    assert decoded(write("x.png", b"\x89PNG\n\n")).inputs["text"].tolist() == [b"\x89PNG\n\n"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.json", "{", "is no JSON"),
        ("x.json", '["a"]', "must hold elements of FP32"),
        ("x.json", "[[1], [1, 2]]", "must hold elements of FP32"),
        ("x.npy", b"nothing", "is no array of numbers"),
        ("x.pdf", b"", r"FILE must end in \.json, .*got '\.pdf'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(write, name, content, said):
    with pytest.raises(InputError, match=said):
        decoded(write(name, content))


def test_an_object_array_is_never_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="is no array of numbers"):
        decoded(tmp_path / "x.npy")


def test_a_model_without_raw_input_says_what_it_takes(write):
    described = {key: value for key, value in DESCRIBED.items() if key != "raw_input"}
    with pytest.raises(InputError, match=r"takes no raw input, only features FP32 \[-1, 4\]"):
        decoded(write("x.txt", "text"), described)


def test_zeros_fit_every_input():
    body, _ = bench.zeros(DESCRIBED, 3)
    assert decode(body, None, [SPEC], ["y"]).inputs["features"].shape == (3, 4)


class Slow:
    """A server whose every answer takes 50 ms, every tenth of them a refusal."""

    def __init__(self):
        self.num_requests = 0
        self.keys = set()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return
        self.keys.add(dict(scope["headers"]).get(b"x-api-key"))
        if scope["method"] == "GET":
            status, body = 200, json.dumps(DESCRIBED).encode()
        else:
            self.num_requests += 1
            status, body = (429 if self.num_requests % 10 == 0 else 200), b"{}"
            await asyncio.sleep(0.05)
        await send({"type": "http.response.start", "status": status, "headers": []})  # chunked: no length
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def slow():
    app, port = Slow(), free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield app, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_a_load_test_measures_what_the_server_does(slow):
    app, url = slow
    found = bench.measured(Client(url=url, key="secret"), "m", connections=4, duration_s=1.0)
    assert found.p50_s == pytest.approx(0.05, abs=0.03)
    num_sent = app.num_requests - 1  # one before it begins
    assert found.num_answered + found.statuses[429] == num_sent
    assert found.statuses[429] == app.num_requests // 10
    assert found.requests_per_s == pytest.approx(found.num_answered / found.seconds)
    assert 4 / 0.05 * 0.5 < num_sent / found.seconds < 4 / 0.05
    assert app.keys == {b"secret"}


def test_a_server_that_is_not_there_is_named_with_what_starts_one(capsys):
    assert main(["status", "--url", f"http://127.0.0.1:{free_port()}"]) == 2
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "serve run serve_config.yaml" in said


def test_list_shows_what_is_on_disk_and_that_no_server_answers(tiny_artifact, capsys):
    root = str(tiny_artifact.path.parents[1])
    assert main(["list", "--artifacts", root, "--url", f"http://127.0.0.1:{free_port()}", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["version"], row["served"]) == ("tiny", "1", False)
    (tiny_artifact.path / "model.onnx").write_bytes(b"")
    assert main(["list", "--artifacts", root, "--url", f"http://127.0.0.1:{free_port()}", "--json"]) == 0
    assert "truncated or altered" in json.loads(capsys.readouterr().out)[0]["problem"]


def test_a_key_is_made_shown_once_listed_and_revoked(tmp_path, capsys):
    file = tmp_path / "keys.yaml"
    limits = ["--models", "text-*", "digits", "--rate", "5", "--burst", "7", "--days", "30"]
    assert main(["key", "add", "ci", *limits, "--file", str(file)]) == 0
    text = capsys.readouterr().out.strip()
    (key,) = keys.load(file).keys
    assert keys.matches(text, key)
    assert (key.models, key.requests_per_s, key.burst, key.admin) == (("text-*", "digits"), 5, 7, False)
    assert 29.9 < (key.expires - keys.now()).total_seconds() / 86400 <= 30
    assert main(["key", "list", "--file", str(file), "--json"]) == 0
    listed = capsys.readouterr().out
    assert '"ci"' in listed
    assert key.sha256 not in listed
    assert main(["key", "revoke", "ci", "--file", str(file)]) == 0
    assert keys.load(file).keys == ()


def test_a_key_with_a_wrong_limit_is_not_made(tmp_path, capsys):
    file = tmp_path / "keys.yaml"
    assert main(["key", "add", "ci", "--rate", "0", "--file", str(file)]) == 2
    assert "requests_per_s: Input should be greater than 0, got 0.0" in capsys.readouterr().err
    assert not file.exists()
