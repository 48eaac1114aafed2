"""A model to be asked in every way: by request, by stream of requests, and step by step."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.servers import Server
from benchmarks.surviving.clients import Client, GrpcCalls, GrpcStreams, HttpCalls, event_streams
from deployments.oip import inference_pb2 as oip
from optimization.artifact import store
from optimization.artifact.store import Artifact, publish

WIDTH = 64
IDS = [3, 70, 4999]
STEPS = 2000
"""Events of a stream."""


def walking(root: Path) -> Artifact:
    """Publish the next version of a model that turns `x` [batch, 64] into `y`, which may be its next `x`."""
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "turn"], ["y"])
    graph = helper.make_graph([node], "walking", ends[:1], ends[1:], [numpy_helper.from_array(turn, "turn")])
    spec = {"datatype": "FP32", "shape": ("batch", WIDTH)}
    return _published(
        graph,
        root,
        inputs=[{"name": "x", **spec}],
        outputs=[{"name": "y", **spec}],
        stream={"carry": {"y": "x"}, "emit": ("y",), "max_steps": STEPS},
    )


def adding(root: Path, table: str, rows: int) -> Artifact:
    """Publish a model that adds up rows of a table, which it is asked by ids [batch, 3], named as the table."""
    spec = {"datatype": "FP32", "shape": ("batch", len(IDS), 8)}
    ends = [
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, spec["shape"]),
        helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 8]),
    ]
    node = helper.make_node("ReduceSum", ["rows", "axes"], ["sum"], keepdims=0)
    graph = helper.make_graph([node], "adding", ends[:1], ends[1:], [helper.make_tensor("axes", 7, [1], [1])])
    ids = {"name": table, "datatype": "INT64", "shape": ("batch", len(IDS))}
    return _published(
        graph,
        root,
        inputs=[{"name": "rows", **spec}],
        outputs=[{"name": "sum", "datatype": "FP32", "shape": ("batch", 8)}],
        embeddings=[{"rows": "rows", "ids": ids, "num_rows": rows}],
    )


def calls(server: Server, name: str, number: int = 8) -> list[Client]:
    """So many connections to the model of that name by HTTP, and as many by gRPC."""
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, WIDTH], "data": [0.5] * WIDTH}]})
    http = [HttpCalls(server.http_port, f"/v2/models/{name}/infer", body.encode()) for _ in range(number)]
    assert server.grpc_port is not None
    return [*http, *(GrpcCalls(server.grpc_port, message(name)) for _ in range(number))]


def streams(server: Server, name: str, number: int = 2, seconds: float = 30.0) -> list[Client]:
    """So many clients of streams of events, and as many of streams of requests, each of so many seconds."""
    path, body = f"/v2/models/{name}/generate_stream", json.dumps({"x": [0.5] * WIDTH}).encode()
    assert server.grpc_port is not None
    events: list[Client] = [
        event_streams(server.http_port, path, body, num_events=STEPS, seconds=seconds) for _ in range(number)
    ]
    requests = [
        GrpcStreams(server.grpc_port, message(name), num_requests=round(10 * seconds), every_s=0.1)
        for _ in range(number)
    ]
    return [*events, *requests]


def message(name: str) -> oip.ModelInferRequest:
    """One request by gRPC."""
    request = oip.ModelInferRequest(model_name=name)
    request.inputs.add(name="x", datatype="FP32", shape=[1, WIDTH])
    request.raw_input_contents.append(np.full(WIDTH, 0.5, np.float32).tobytes())
    return request


def ids_message(model: str) -> oip.ModelInferRequest:
    """One request by gRPC to a model that is asked by ids."""
    request = oip.ModelInferRequest(model_name=model)
    request.inputs.add(name="items", datatype="INT64", shape=[1, len(IDS)])
    request.raw_input_contents.append(np.array(IDS, np.int64).tobytes())
    return request


def _published(graph: onnx.GraphProto, root: Path, **fields: Any) -> Artifact:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / store.MODEL
        onnx.save(model, file)
        return publish(root, {store.MODEL: file}, name=graph.name, **fields)
