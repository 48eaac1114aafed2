"""The cache of answers: the same inputs, no others; never more bytes than allowed."""

import asyncio

import httpx
import ml_dtypes
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from deployments.batching.admission import Limits
from deployments.execution.answer_cache import ENTRY_BYTES, AnswerCache, digest_of
from deployments.execution.predictor import Predictor
from deployments.http.model import ModelApp
from telemetry import conventions
from telemetry.emitting.emitter import Emitter
from tests.conftest import expected_probabilities, free_port

ANY_ARRAY = arrays.arrays(
    st.sampled_from([np.float32, np.int64, np.uint8, np.bool_]), arrays.array_shapes(max_dims=2, max_side=3)
)


def outputs(value, size=1):
    return {"y": np.full(size, value, np.float32)}


@given(ANY_ARRAY, ANY_ARRAY)
def test_a_digest_is_the_same_for_the_same_content_alone(a, b):
    same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    assert (digest_of({"x": a}) == digest_of({"x": b})) == same
    assert digest_of({"x": a, "y": b}) == digest_of({"y": b, "x": a})
    assert digest_of({"x": a}) != digest_of({"y": a})


def test_a_digest_sees_where_texts_end_and_memory_order_does_not_matter():
    def texts(*elements):
        array = np.empty(len(elements), object)
        array[:] = elements
        return {"text": array}

    assert digest_of(texts(b"ab", b"c")) != digest_of(texts(b"a", b"bc"))
    square = np.arange(4, dtype=np.float32).reshape(2, 2)
    assert digest_of({"x": square}) == digest_of({"x": np.asfortranarray(square)})
    assert digest_of({"x": square}) != digest_of({"x": square.T})


def test_the_least_recently_used_goes_first():
    cache = AnswerCache(3 * (ENTRY_BYTES + 4))
    for name in (b"a", b"b", b"c"):
        cache.put(name, outputs(1))
    assert cache.get(b"a") is not None
    cache.put(b"d", outputs(1))
    assert [name for name in (b"a", b"b", b"c", b"d") if cache.get(name) is None] == [b"b"]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2000)), max_size=200))
def test_it_holds_no_more_bytes_than_allowed_and_gives_what_was_put(puts):
    cache, given_first = AnswerCache(10_000), {}
    for name, size in puts:
        digest = bytes([name])
        if cache.get(digest) is None:
            given_first[digest] = size
        cache.put(digest, outputs(size, size))
        assert cache.size_bytes <= 10_000
        found = cache.get(digest)
        if found is not None:
            assert found["y"].tolist() == [given_first[digest]] * given_first[digest]


def test_what_is_kept_is_no_view_of_the_batch_it_came_from():
    batch = np.zeros((64, 1000), np.float32)
    cache = AnswerCache(10_000)
    cache.put(b"a", {"y": batch[:1]})
    batch[:] = 1
    found = cache.get(b"a")["y"]
    assert found.base is None
    assert not found.any()


def test_numpys_foreign_types_are_digested_too():
    ones = np.ones((2, 2), ml_dtypes.bfloat16)
    assert digest_of({"x": ones}) != digest_of({"x": ones * 2})


def test_a_model_is_asked_once_for_the_same_inputs_whatever_else_the_requests_say(tiny_artifact):
    rows, calls = np.arange(8, dtype=np.float32).reshape(2, 4), []

    def run(inputs):
        calls.append(inputs["features"])
        return {"probabilities": expected_probabilities(inputs["features"])}

    def request(features, **extra):
        entry = {"name": "features", "datatype": "FP32", "shape": [2, 4], "data": features.ravel().tolist()}
        return extra | {"inputs": [entry]}

    emitter = Emitter(
        service="m", version="1", role="replica", instance="i", endpoint=f"http://localhost:{free_port()}"
    )

    async def main():
        predictor = Predictor(
            tiny_artifact.manifest,
            run,
            limits=Limits(max_batch_size=8),
            inline=True,
            cache=AnswerCache(100_000),
            emitter=emitter,
        )
        app = ModelApp(predictor, max_body_bytes=4096, emitter=emitter)
        app.start()
        transport = httpx.ASGITransport(app, root_path="/v2/models/tiny")
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            bodies = (
                request(rows),
                request(rows, id="7"),
                request(rows, outputs=[{"name": "probabilities", "parameters": {"binary_data": True}}]),
                request(rows + 1),
            )
            answers = [await client.post("/v2/models/tiny/infer", json=body) for body in bodies]
            wrong = await client.post("/v2/models/tiny/infer", json=request(rows, parameters={"timeout": "soon"}))
        await app.stop()
        return answers, wrong

    answers, wrong = asyncio.run(main())
    assert [answer.headers["x-cache"] for answer in answers] == ["miss", "hit", "hit", "miss"]
    assert len(calls) == 2
    assert answers[1].json()["id"] == "7"
    np.testing.assert_allclose(answers[1].json()["outputs"][0]["data"], expected_probabilities(rows).ravel(), rtol=1e-6)
    assert answers[2].content.endswith(expected_probabilities(rows).tobytes())
    assert wrong.status_code == 400
    lookups = emitter.counter(conventions.CACHE_LOOKUPS)._totals
    version = (conventions.MODEL_VERSION, "1")
    assert lookups == {(version, (conventions.CACHE_HIT, False)): 2, (version, (conventions.CACHE_HIT, True)): 2}
