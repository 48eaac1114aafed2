"""One model's ASGI application, called over HTTP semantics with a real session of ONNX Runtime."""

import asyncio
import gzip
import io
import json
import logging

import httpx
import numpy as np
import orjson
import pytest

from deployments.batching.admission import Limits
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http.model import ModelApp
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.json_lines import JsonLines
from tests.conftest import expected_probabilities, free_port

FEATURES = np.array([[1, 2, 3, 4], [0, 0, 1, 0]], dtype=np.float32)
PREFIX = "/v2/models/tiny"


def infer_body(features=FEATURES, **changes):
    entry = {"name": "features", "datatype": "FP32", "shape": list(features.shape), "data": features.ravel().tolist()}
    return {"inputs": [entry | changes]}


class Mounted:
    """The application behind its route prefix, as Ray Serve mounts it."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app({**scope, "root_path": PREFIX}, receive, send)


@pytest.fixture
def call(tiny_artifact):
    """A function that sends requests, all at once, and gives their responses."""
    session = Session(tiny_artifact, num_threads=1, max_batch_size=8)

    def send(*requests, run=session.run):
        async def main():
            endpoint = f"http://127.0.0.1:{free_port()}"
            emitter = Emitter(service="tiny", version="1", role="replica", instance="i", endpoint=endpoint)
            limits = Limits(max_batch_size=8, max_request_samples=64)
            predictor = Predictor(tiny_artifact.manifest, run, limits=limits, inline=True, emitter=emitter)
            app = ModelApp(predictor, max_body_bytes=4096, emitter=emitter)
            app.start()
            transport = httpx.ASGITransport(Mounted(app))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                responses = await asyncio.gather(
                    *(client.request(method, PREFIX + path, **options) for method, path, options in requests)
                )
            await app.stop()
            return responses

        return asyncio.run(main())

    return send


def test_a_line_that_is_logged_while_a_request_is_answered_bears_its_trace(call):
    """Several requests are under way at once; each has its own."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("tiny"))
    logging.root.addHandler(handler)

    def run(inputs):
        raise RuntimeError(f"password=swordfish{inputs['features'][0, 0]:.0f}")

    traces = [f"{number:032x}" for number in (1, 2, 3)]
    headers = [{"traceparent": f"00-{trace}-b7ad6b7169203331-01"} for trace in traces]
    try:
        call(*(("POST", "/infer", {"json": infer_body(), "headers": each}) for each in headers), run=run)
    finally:
        logging.root.removeHandler(handler)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert sorted(line["trace_id"] for line in lines if "failed" in line["message"]) == traces
    assert "RuntimeError" in lines[0]["exception"]
    assert "swordfish" not in stream.getvalue()


def test_inference_gives_what_numpy_computes(call):
    (response,) = call(("POST", "/infer", {"json": infer_body() | {"id": "q"}}))
    answer = response.json()
    assert response.status_code == 200
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tiny", "1", "q")
    (output,) = answer["outputs"]
    assert output["shape"] == [2, 3]
    np.testing.assert_allclose(np.reshape(output["data"], (2, 3)), expected_probabilities(FEATURES), rtol=1e-5)


def test_a_versioned_path_reaches_the_same_model(call):
    plain, versioned = call(
        ("POST", "/infer", {"json": infer_body()}), ("POST", "/versions/1/infer", {"json": infer_body()})
    )
    assert plain.json() == versioned.json()


def test_metadata_names_inputs_and_outputs(call):
    (response,) = call(("GET", "", {}))
    assert response.json() == {
        "name": "tiny",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
    }


def test_readiness_is_told(call):
    (response,) = call(("GET", "/ready", {}))
    assert response.json() == {"name": "tiny", "ready": True, "live": True}


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "said"),
    [
        ("GET", "/nowhere", {}, 404, "has no '/nowhere'"),
        ("GET", "/versions/9", {}, 404, "not '9'"),
        ("GET", "/infer", {}, 405, "takes POST, got GET"),
        ("POST", "/infer", {"content": b"{"}, 400, "must be a JSON object: "),
        ("POST", "/infer", {"json": infer_body(name="x")}, 400, "input names must be 'features', got 'x'"),
        ("POST", "/infer", {"json": infer_body(shape=[2, 3])}, 400, "shape must be [batch, 4]"),
        ("POST", "/infer", {"json": infer_body(datatype="INT8")}, 400, "must be FP32, got 'INT8'"),
        ("POST", "/infer", {"json": infer_body(np.zeros((65, 4)))}, 400, "at most 64, got 65"),
        ("POST", "/infer", {"content": bytes(5000)}, 413, "at most 4096 bytes, got 5000"),
        ("POST", "/infer", {"content": b"x", "headers": {"content-encoding": "br"}}, 400, "got 'br'"),
    ],
)
def test_a_wrong_request_gets_its_status_and_reason(call, method, path, options, status, said):
    (response,) = call((method, path, options))
    assert response.status_code == status
    assert said in response.json()["error"]


def test_a_failing_model_tells_the_client_no_insides(call):
    def run(_):
        raise RuntimeError("secret path /etc")

    (response,) = call(("POST", "/infer", {"json": infer_body()}), run=run)
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "log says why" in response.json()["error"]


def test_a_bad_request_among_good_ones_fails_alone(call):
    good, bad, other = call(
        ("POST", "/infer", {"json": infer_body()}),
        ("POST", "/infer", {"json": infer_body(data=["a"] * 8)}),
        ("POST", "/infer", {"json": infer_body()}),
    )
    assert (good.status_code, bad.status_code, other.status_code) == (200, 400, 200)


def test_a_packed_request_is_read_and_a_large_response_packed(call):
    many = np.ones((8, 4), np.float32)
    packed = gzip.compress(orjson.dumps(infer_body(many)))
    options = {"content": packed, "headers": {"content-encoding": "gzip", "accept-encoding": "gzip"}}
    (response,) = call(("POST", "/infer", options))
    assert response.status_code == 200
    assert response.json()["outputs"][0]["shape"] == [8, 3]
