"""Whatever bytes a client sends, it gets an answer or is told what is wrong: never a 500."""

import asyncio
import tracemalloc

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.batching.admission import Limits
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http.model import ModelApp
from telemetry.emitting.emitter import Emitter
from tests.conftest import publish_tiny
from tests.served import publish_same

json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """The statuses of requests to `/infer` and `/generate` of models of numbers and of text."""
    root = tmp_path_factory.mktemp("hostile")
    emitter = Emitter(service="m", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:1")
    apps = []
    for artifact in (publish_tiny(root), publish_same(root, ("BYTES", "INT8", "BOOL"))):
        session = Session(artifact, num_threads=1, max_batch_size=8)
        limits = Limits(max_batch_size=8)
        predictor = Predictor(artifact.manifest, session.run, limits=limits, inline=True, emitter=emitter)
        apps.append(ModelApp(predictor, max_body_bytes=2**20, emitter=emitter))

    async def statuses(body, headers):
        found = []
        for app in apps:
            app.start()
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
                for path in ("/infer", "/generate", "/generate_stream", "/trace/setting"):
                    response = await client.post(path, content=body, headers=headers)
                    found.append(response.status_code)
                    if response.status_code >= 400:
                        assert response.json()["error"]
        return found

    return lambda body, headers=(): asyncio.run(statuses(body, dict(headers)))


HOSTILE = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@HOSTILE
@given(body=st.binary(max_size=200), length=st.none() | st.text("0123456789", max_size=6) | st.just("9" * 5000))
def test_any_bytes_are_an_answer_or_refused(ask, body, length):
    headers = [("inference-header-content-length", length)] if length is not None else []
    assert max(ask(body, headers)) < 500


@HOSTILE
@given(data=json, shape=json, parameters=json, name=st.sampled_from(["features", "in_BYTES", "in_INT8", "in_BOOL"]))
def test_any_tensor_is_an_answer_or_refused(ask, data, shape, parameters, name):
    datatype = {"features": "FP32"}.get(name, name.removeprefix("in_"))
    for given_shape in (shape, [1, 4], [1, 2]):
        entry = {"name": name, "datatype": datatype, "shape": given_shape, "data": data}
        assert max(ask(orjson.dumps({"inputs": [entry], "parameters": parameters}))) < 500
    assert max(ask(orjson.dumps({name: data, "parameters": parameters}))) < 500


@pytest.mark.parametrize(
    "parameters",
    [
        {"timeout": "9" * 5000},
        {"timeout": 2**64 - 1},
        {"priority": "9" * 5000},
        {"max_steps": 2**63},
        {"timeout": 1e308},
        {"binary_data_output": "yes"},
    ],
)
def test_huge_numbers_are_an_answer_or_refused(ask, parameters):
    entry = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    assert max(ask(orjson.dumps({"inputs": [entry], "parameters": parameters}))) < 500
    assert max(ask(orjson.dumps({"features": [1, 2, 3, 4], "parameters": parameters}))) < 500


@pytest.mark.parametrize("seconds", ["1e308", "1e400", "-1", "nan", "9" * 5000, "²"])
def test_any_deadline_is_kept_or_refused(ask, seconds):
    body = orjson.dumps({"features": [1, 2, 3, 4]})
    assert max(ask(body, [("x-request-timeout-seconds", seconds.encode("latin-1", "replace"))])) < 500


@pytest.mark.parametrize(
    "data",
    [[[1, 2], [3]], [1, [2, 3], 4], [], [[]], [[], []], {}, "text", [{}], ["a" * 1000, "b"], [[1, 2, 3, 4]], None, 1],
)
def test_ragged_and_empty_inputs_are_an_answer_or_refused(ask, data):
    for name in ("features", "in_BYTES"):
        assert max(ask(orjson.dumps({name: data}))) < 500


def test_a_long_text_in_a_generate_request_costs_no_room_for_as_many_as_there_are(ask):
    body = orjson.dumps({"features": ["a" * 10_000, *["b"] * 3_000]})
    ask(body)
    tracemalloc.start()
    assert ask(body)[1] == 400
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(body) + 2_000_000
    assert np.asarray(["a" * 10_000, *["b"] * 10]).nbytes > 400_000  # what numpy makes of a few of them
