"""A model that is asked for more than it can do, over HTTP: who is refused, who is told in time, who costs nothing."""

import asyncio
import gzip
import json
import time

import numpy as np
import pytest
import uvicorn

from deployments.batching.admission import Limits
from deployments.execution.byte_budget import ByteBudget
from deployments.execution.predictor import Predictor
from deployments.http.model import ModelApp
from telemetry.emitting.emitter import Emitter
from tests.conftest import free_port

CALL_S = 0.3


class Slow:
    """The tiny model, taking its time, and counting its calls."""

    def __init__(self):
        self.calls = 0
        self.first_features = []

    def run(self, feeds):
        self.calls += 1
        self.first_features.append(float(feeds["features"][0, 0]))
        time.sleep(CALL_S)
        return {"probabilities": np.zeros((len(feeds["features"]), 3), np.float32)}


def body(first=0, **more):
    entry = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [first, 0, 0, 0]}
    return json.dumps({"inputs": [entry], **more}).encode()


BODY = body()


def request(content=BODY, *headers):
    head = ["POST /infer HTTP/1.1", "host: test", f"content-length: {len(content)}", "connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


async def answered(port, raw):
    """The whole response to `raw`, and the seconds it took."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    response = await reader.read()
    writer.close()
    return response, time.perf_counter() - began


async def hang_up(port, after_s):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request())
    await asyncio.sleep(after_s)
    writer.close()


@pytest.fixture
def serving(tiny_artifact):
    """Runs `clients(port)` against a real uvicorn with the slow model, one row a call; its result and the model."""

    def serve(clients, budget=None, **limits):
        model = Slow()
        endpoint = f"http://127.0.0.1:{free_port()}"
        emitter = Emitter(service="tiny", version="1", role="replica", instance="i", endpoint=endpoint)
        limits = Limits(max_batch_size=1, **limits)
        predictor = Predictor(tiny_artifact.manifest, model.run, limits=limits, inline=False, emitter=emitter)
        app = ModelApp(predictor, max_body_bytes=4096, budget=budget, emitter=emitter)

        async def main():
            port = free_port()
            server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_level="error"))
            task = asyncio.create_task(server.serve())
            app.start()
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                return await clients(port)
            finally:
                server.should_exit = True
                await task
                await app.stop()

        return asyncio.run(main()), model

    return serve


def test_beyond_the_queue_a_client_gets_429_at_once_and_is_told_when_to_come_back(serving):
    async def clients(port):
        first = asyncio.create_task(answered(port, request()))
        await asyncio.sleep(CALL_S / 3)
        second = asyncio.create_task(answered(port, request()))
        await asyncio.sleep(CALL_S / 3)
        refused = await answered(port, request())
        return [await first, await second, refused]

    (first, second, (refused, took_s)), model = serving(clients, max_queue_size=1)
    assert first[0].startswith(b"HTTP/1.1 200")
    assert second[0].startswith(b"HTTP/1.1 200")
    assert refused.startswith(b"HTTP/1.1 429")
    assert b"retry-after: 1\r\n" in refused
    assert took_s < CALL_S
    assert model.calls == 2


def chunked(content):
    head = ["POST /infer HTTP/1.1", "host: test", "transfer-encoding: chunked", "connection: close"]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (content[:50], content[50:], b""))
    return "\r\n".join(head).encode() + b"\r\n\r\n" + chunks


def packed(content):
    return request(gzip.compress(content), "content-encoding: gzip")


@pytest.mark.parametrize("form", [request, chunked, packed])
def test_bodies_that_wait_are_bounded_in_bytes_and_leave_when_answered(serving, form):
    """Each body is small beside the queue's length: without the bound all would wait."""
    large = BODY + b" " * 3000

    async def clients(port):
        first = asyncio.create_task(answered(port, form(large)))
        await asyncio.sleep(CALL_S / 3)
        refused, took_s = await answered(port, form(large))
        small = await answered(port, request())
        await first
        again = await answered(port, form(large))
        return [await first, small, again], refused, took_s

    budget = ByteBudget(len(large) + len(BODY))
    (fine, refused, took_s), model = serving(clients, budget)
    assert [response[:12] for response, _ in fine] == [b"HTTP/1.1 200"] * 3
    assert refused.startswith(b"HTTP/1.1 429")
    assert b"retry-after: 1\r\n" in refused
    assert b"of at most" in refused
    assert took_s < CALL_S
    assert model.calls == 3
    budget.reserve(len(large) + len(BODY))  # all of it is free again


@pytest.mark.parametrize(
    "urgent",
    [
        request(BODY, "x-request-timeout-seconds: 0.05"),
        request(body(parameters={"timeout": 50_000})),
    ],
    ids=["header", "parameter"],
)
def test_a_deadline_that_passes_in_the_queue_is_a_504_in_time_and_no_call(serving, urgent):
    async def clients(port):
        first = asyncio.create_task(answered(port, request()))
        await asyncio.sleep(CALL_S / 3)
        late = await answered(port, urgent)
        await first
        return late

    (late, took_s), model = serving(clients)
    assert late.startswith(b"HTTP/1.1 504")
    assert took_s < CALL_S
    assert model.calls == 1


def test_of_those_that_wait_the_most_urgent_is_answered_first(serving):
    """1 goes before 2, and what names no priority goes last."""
    waiting = [body(1), body(2, parameters={"priority": 2}), body(3, parameters={"priority": 1})]

    async def clients(port):
        first = asyncio.create_task(answered(port, request()))
        await asyncio.sleep(CALL_S / 3)
        await asyncio.gather(first, *(answered(port, request(content)) for content in waiting))

    _, model = serving(clients)
    assert model.first_features == [0, 3, 2, 1]


def test_a_client_that_hangs_up_while_it_waits_costs_no_call(serving):
    async def clients(port):
        first = asyncio.create_task(answered(port, request()))
        await asyncio.sleep(CALL_S / 3)
        await asyncio.gather(*(hang_up(port, CALL_S / 5) for _ in range(5)))
        await first
        return await answered(port, request())

    (response, _), model = serving(clients)
    assert response.startswith(b"HTTP/1.1 200")
    assert model.calls == 2
