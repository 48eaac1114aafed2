"""One trace of a client's HTTP request through a pipeline: ingress process, stages by their sockets, their models."""

import asyncio

import httpx
import numpy as np
import pytest
import uvicorn

from deployments.http.model import ModelApp
from deployments.ingress.fast_path import FastPath, past_wrapper
from telemetry.emitting.emitter import Emitter
from tests.conftest import free_port, publish_tiny
from tests.deployments.stages.staged import in_a_loop, running
from tests.telemetry.emitting.sink import listening

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def chain(tmp_path):
    """A function, and a model that is given what it gives; each has a replica of its own."""
    publish_tiny(tmp_path, "digits")
    rows = {"datatype": "FP32", "shape": ["batch", 4]}
    first = {
        "name": "first",
        "call": "tests.deployments.stages.functions:double",
        "takes": [{"name": "x", **rows}],
        "gives": [{"name": "y", **rows}],
    }
    then = {"name": "then", "artifact": "digits", "inputs": {"features": "first.y"}}
    outputs = {"probabilities": "then.probabilities"}
    return {"pipeline": "both", "artifacts": str(tmp_path), "stages": [first, then], "outputs": outputs}


async def asked(settings, endpoint, headers, ratio=0.0):
    """The status of a request by HTTP to the pipeline, all of whose processes report to `endpoint`."""
    emitters = {}

    def report(service):
        if service not in emitters:
            emitters[service] = Emitter(
                service=service, version="1", role="stage", instance=service, endpoint=endpoint, trace_ratio=ratio
            )
        return emitters[service]

    async with running(settings, report=report) as staged:
        app = ModelApp(staged.predictor, max_body_bytes=10**6, emitter=report("both"))
        port, path = free_port(), "/v2/models/both"
        served = past_wrapper(app, FastPath(path, app))
        server = uvicorn.Server(uvicorn.Config(served, port=port, lifespan="off", log_level="error"))
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        rows = np.ones((2, 4), np.float32)
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": rows.ravel().tolist()}]}
        async with httpx.AsyncClient() as client:
            response = await client.post(f"http://127.0.0.1:{port}{path}/infer", json=body, headers=headers)
        server.should_exit = True
        await serving
    await asyncio.gather(*(asyncio.to_thread(each.shutdown) for each in emitters.values()))
    return response.status_code


@in_a_loop
async def test_one_trace_is_seen_whole_from_the_client_through_both_stages(chain):
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=a"}
    with listening() as sink:
        assert await asked(chain, sink.endpoint, headers) == 200
    spans = {(resource["service.name"], span.name): span for span, resource in sink.span_resources}
    request = spans["both", "POST /v2/models/{model}/infer"]
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert {span.trace_state for span in spans.values()} <= {"vendor=a", ""}
    assert request.parent_span_id.hex() == PARENT
    for stage in ("first", "then"):
        asking, answering = spans["both", f"ask {stage}"], spans[stage, "POST /infer"]
        assert asking.parent_span_id == request.span_id
        assert answering.parent_span_id == asking.span_id
        assert asking.start_time_unix_nano <= answering.start_time_unix_nano
        inference, batch = spans[stage, "inference"], spans[stage, "batch"]
        assert inference.parent_span_id == answering.span_id
        assert batch.parent_span_id == answering.span_id
        assert [link.span_id for link in inference.links] == [batch.span_id]
        assert [link.span_id for link in batch.links] == [answering.span_id]
    assert spans["both", "ask first"].end_time_unix_nano <= spans["both", "ask then"].start_time_unix_nano


@in_a_loop
async def test_a_request_that_its_caller_did_not_sample_leaves_no_span_anywhere(chain):
    with listening() as sink:
        assert await asked(chain, sink.endpoint, {"traceparent": f"00-{TRACE}-{PARENT}-00"}, ratio=1.0) == 200
    assert sink.spans == []


@in_a_loop
async def test_a_request_that_fails_is_kept_in_every_process_it_failed_in_though_nobody_sampled_it(chain):
    chain["stages"][0]["call"] = "tests.deployments.stages.functions:fails"
    with listening() as sink:
        assert await asked(chain, sink.endpoint, {}) == 500
    spans = {(resource["service.name"], span.name): span for span, resource in sink.span_resources}
    assert {name for name, _ in spans} == {"both", "first"}
    assert len({span.trace_id for span in spans.values()}) == 1
    assert spans["both", "POST /v2/models/{model}/infer"].status.code == 2
    assert spans["first", "POST /infer"].parent_span_id == spans["both", "ask first"].span_id
