"""Answers step by step: the loop against numpy's own, and the events a client reads."""

import asyncio
import json
import time

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deployments.batching.admission import Limits
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http.model import ModelApp
from optimization.artifact.store import ArtifactError
from optimization.running.adopt import adopt
from telemetry.emitting.emitter import Emitter
from tests.conftest import free_port, publish_tiny

VOCABULARY, HIDDEN, END = 12, 8, 0
RANDOM = np.random.default_rng(3)
EMBED, RECUR = RANDOM.normal(size=(VOCABULARY, HIDDEN)), 0.6 * RANDOM.normal(size=(HIDDEN, HIDDEN))
OUT = RANDOM.normal(size=(HIDDEN, VOCABULARY))


def recurrent(path):
    """A recurrent net that reads a token and its state and writes the most likely next token."""
    weights = {"embed": EMBED, "recur": RECUR, "out": OUT}
    nodes = [
        helper.make_node("Gather", ["embed", "token"], ["e"]),
        helper.make_node("MatMul", ["state", "recur"], ["r"]),
        helper.make_node("Add", ["e", "r"], ["s"]),
        helper.make_node("Tanh", ["s"], ["new_state"]),
        helper.make_node("MatMul", ["new_state", "out"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["next"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [
            helper.make_tensor_value_info("token", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", HIDDEN]),
        ],
        [
            helper.make_tensor_value_info("next", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("new_state", TensorProto.FLOAT, ["batch", HIDDEN]),
        ],
        [numpy_helper.from_array(weight.astype(np.float32), name) for name, weight in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def expected(prompt, max_steps):
    """The same loop in numpy."""
    state, written = np.zeros(HIDDEN), []
    read = list(prompt)
    while len(written) < max_steps and END not in written:
        state = np.tanh(EMBED[read.pop(0) if read else written[-1]] + state @ RECUR)
        if not read:
            written.append(int(np.argmax(state @ OUT)))
    return written


@pytest.fixture
def artifact(tmp_path):
    driven = tmp_path / "stream.yaml"
    driven.write_text("carry: {next: token, new_state: state}\nemit: [next]\nuntil: {next: 0}\nmax_steps: 40\n")
    return adopt(recurrent(tmp_path / "model.onnx"), tmp_path / "artifacts", "writer", driven)


def call(artifact, *requests, run=None, sizes=None, inline=True):
    """Each (path, body, headers) at the same time; `sizes` collects the batches."""
    session = Session(artifact, num_threads=1, max_batch_size=8)

    def counting(inputs):
        if sizes is not None:
            sizes.append(len(next(iter(inputs.values()))))
        return (run or session.run)(inputs)

    async def main():
        endpoint = f"http://127.0.0.1:{free_port()}"
        emitter = Emitter(service="m", version="1", role="replica", instance="i", endpoint=endpoint)
        limits = Limits(max_batch_size=8)
        predictor = Predictor(artifact.manifest, counting, limits=limits, inline=inline, emitter=emitter)
        app = ModelApp(predictor, max_body_bytes=4096, emitter=emitter)
        app.start()
        prefix = f"/v2/models/{artifact.manifest.name}"
        transport = httpx.ASGITransport(app, root_path=prefix)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answers = await asyncio.gather(
                *(client.post(prefix + path, json=body, headers=headers) for path, body, headers in requests)
            )
        await app.stop()
        return answers

    return asyncio.run(main())


def events(answer):
    lines = answer.text.split("\n\n")
    assert lines.pop() == ""
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_stream_is_what_the_loop_gives_and_ends_where_it_does(artifact):
    for prompt in ([2], [7, 4, 11], [1, 1, 5, 9]):
        body = {"id": "a", "token": prompt}
        (streamed, whole) = call(artifact, ("/generate_stream", body, {}), ("/generate", body, {}))
        assert streamed.headers["content-type"] == "text/event-stream"
        assert [each["next"] for each in events(streamed)] == expected(prompt, 40)
        assert whole.json() == {"id": "a", "model_name": "writer", "model_version": "1", "next": expected(prompt, 40)}


def test_the_state_starts_at_zero_and_a_token_may_stand_alone(artifact):
    none, alone = call(
        artifact,
        ("/generate", {"parameters": {"max_steps": 3}}, {}),
        ("/generate", {"token": 5, "parameters": {"max_steps": 3}}, {}),
    )
    assert none.json()["next"] == expected([0], 3)
    assert alone.json()["next"] == expected([5], 3)


def test_streams_at_the_same_time_share_batches_and_do_not_mix(artifact):
    sizes = []
    prompts = [[n % VOCABULARY, (3 * n) % VOCABULARY] for n in range(1, 7)]
    body = [("/generate", {"token": prompt, "parameters": {"max_steps": 20}}, {}) for prompt in prompts]
    answers = call(artifact, *body, sizes=sizes)
    assert [answer.json()["next"] for answer in answers] == [expected(prompt, 20) for prompt in prompts]
    assert sizes[0] == 6
    assert len(sizes) < sum(len(expected(prompt, 20)) + 1 for prompt in prompts) / 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"token": [99, "a"]}, "input 'token'"),
        ({"token": []}, "takes 1 elements for each step to read, got 0"),
        ({"word": 1}, "inputs must be token, state, got 'word'"),
        ({"token": 1, "parameters": {"max_steps": 41}}, "max_steps must lie in 1..40, got 41"),
        ({"token": 1, "parameters": {"timeout": "soon"}}, "timeout"),
        ([1], "must be a JSON object, got list"),
        ({"token": 1, "id": 7}, "id must be a string"),
    ],
)
def test_a_wrong_request_is_refused_before_any_event(artifact, body, said):
    streamed, whole = call(artifact, ("/generate_stream", body, {}), ("/generate", body, {}))
    assert (streamed.status_code, whole.status_code) == (400, 400)
    assert said in streamed.json()["error"]


def test_a_failure_after_some_events_is_the_last_event_and_tells_no_insides(artifact):
    session = Session(artifact, num_threads=1, max_batch_size=8)
    calls = []

    def run(inputs):
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("secret")
        return session.run(inputs)

    (answer,) = call(artifact, ("/generate_stream", {"token": [7, 4]}, {}), run=run)
    *fine, last = events(answer)
    assert [each["next"] for each in fine] == expected([7, 4], 1)
    assert "the server's log says why" in last["error"]
    assert "secret" not in answer.text


def test_a_deadline_ends_a_stream(artifact):
    session = Session(artifact, num_threads=1, max_batch_size=8)

    def slow(inputs):
        time.sleep(0.05)
        return session.run(inputs) | {"next": np.array([5])}

    headers = {"x-request-timeout-seconds": "0.2"}
    (answer,) = call(artifact, ("/generate_stream", {"token": 7}, headers), run=slow, inline=False)
    *fine, last = events(answer)
    assert 1 <= len(fine) <= 4
    assert last == {"error": "the request was not answered within its 0.2 s"}


def test_a_model_that_does_not_stream_answers_once(tmp_path):
    tiny = publish_tiny(tmp_path)
    body = {"features": [1, 2, 3, 4]}
    whole, streamed = call(tiny, ("/generate", body, {}), ("/generate_stream", body, {}))
    (only,) = events(streamed)
    assert whole.json() == only
    assert only["probabilities"] == pytest.approx([0.00012309, 0.997405, 0.00247232], rel=1e-4)


@pytest.mark.parametrize(
    ("driven", "said"),
    [
        ("carry: {next: word}\nemit: [next]", "'next' must become an input of its own datatype, got 'word'"),
        ("carry: {next: state}\nemit: [next]", "of its own datatype, got 'state'"),
        ("carry: {}\nemit: [other]", "outputs are next, new_state, got 'other'"),
        ("carry: {}\nemit: []", "stream.emit"),
        ("carry: [", "is no YAML"),
    ],
)
def test_what_drives_a_stream_must_fit_the_model(tmp_path, driven, said):
    (tmp_path / "stream.yaml").write_text(driven)
    with pytest.raises(ArtifactError, match=said):
        adopt(recurrent(tmp_path / "model.onnx"), tmp_path / "artifacts", "writer", tmp_path / "stream.yaml")
