"""A model to be asked in every way: by request, by stream of requests, and step by step."""

import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.servers import Server, infer_path
from benchmarks.surviving.clients import Client, GrpcCalls, GrpcStreams, HttpCalls, event_streams
from deployments.oip import inference_pb2 as oip
from optimization.artifact import store
from optimization.artifact.store import Artifact, publish

WIDTH = 64
STEPS = 1000
"""Events of a stream: some seconds of them."""


def walking(root: Path) -> Artifact:
    """Publish the next version of a model that turns `x` [batch, 64] into `y`, which may be its next `x`."""
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "turn"], ["y"])
    graph = helper.make_graph([node], "walking", ends[:1], ends[1:], [numpy_helper.from_array(turn, "turn")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "walking.onnx"
        onnx.save(model, file)
        spec = {"datatype": "FP32", "shape": ("batch", WIDTH)}
        return publish(
            root,
            {store.MODEL: file},
            name="walking",
            inputs=[{"name": "x", **spec}],
            outputs=[{"name": "y", **spec}],
            stream={"carry": {"y": "x"}, "emit": ("y",), "max_steps": STEPS},
        )


def calls(server: Server, artifact: Artifact, number: int = 8) -> list[Client]:
    """So many connections by HTTP, and as many by gRPC."""
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, WIDTH], "data": [0.5] * WIDTH}]})
    http = [HttpCalls(server.http_port, infer_path(artifact), body.encode()) for _ in range(number)]
    assert server.grpc_port is not None
    return [*http, *(GrpcCalls(server.grpc_port, message(artifact)) for _ in range(number))]


def streams(server: Server, artifact: Artifact, number: int = 2) -> list[Client]:
    """So many clients of streams of events, and as many of streams of requests, each of a few seconds."""
    path = infer_path(artifact).replace("/infer", "/generate_stream")
    events = [
        event_streams(server.http_port, path, json.dumps({"x": [0.5] * WIDTH}).encode(), STEPS) for _ in range(number)
    ]
    assert server.grpc_port is not None
    requests = [GrpcStreams(server.grpc_port, message(artifact), num_requests=40, every_s=0.1) for _ in range(number)]
    return [*events, *requests]


def message(artifact: Artifact) -> oip.ModelInferRequest:
    """One request by gRPC."""
    request = oip.ModelInferRequest(model_name=artifact.manifest.name)
    request.inputs.add(name="x", datatype="FP32", shape=[1, WIDTH])
    request.raw_input_contents.append(np.full(WIDTH, 0.5, np.float32).tobytes())
    return request
