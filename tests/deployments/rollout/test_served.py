"""Rollouts on a real cluster, asked all the while: what is published, what is no good, and a controller that dies."""

import json
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.servers import infer_path, processes, request_body, trimtab
from benchmarks.surviving.clients import GrpcCalls, HttpCalls, asking
from deployments.commands.client import Client
from deployments.errors import CallError
from deployments.oip import inference_pb2 as oip
from optimization.artifact.store import publish
from tests.conftest import publish_tiny

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

QUICK = {
    "shadow": True,
    "canary": [10, 50],
    "auto": True,
    "step_s": 3.0,
    "window_s": 1.0,
    "analysis": {"least_s": 2.0, "least_requests": 10, "cpu_margin": 50.0, "latency_margin": 20.0},
}
"""Small samples of a tiny model on a busy machine: it is not its speed that is judged here."""


def publish_nothing_but_nan(root):
    """A version of the tiny model that answers each request with what is no number."""
    nan = numpy_helper.from_array(np.full((4, 3), np.nan, np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["probabilities"])],
        "nan",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [nan],
    )
    file = root / "nan-source.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return publish(
        root,
        {"model.onnx": file},
        name="tiny",
        inputs=[{"name": "features", "datatype": "FP32", "shape": ["batch", 4]}],
        outputs=[{"name": "probabilities", "datatype": "FP32", "shape": ["batch", 3]}],
        labels=["a", "b", "c"],
    )


def ended(client, version, timeout_s=90):
    """The rollout of that version, once it has ended."""
    deadline = time.monotonic() + timeout_s
    found = {}
    while time.monotonic() < deadline:
        try:
            found = client.get("/v2/rollouts/tiny")["rollouts"][0]
        except CallError:  # the controller's process was killed, or none was begun yet
            found = {}
        if found.get("candidate") == version and found["phase"] in ("promoted", "rolled_back", "aborted"):
            return found
        time.sleep(0.1)
    raise AssertionError(json.dumps(found, indent=1)[-3000:])


def answering(client, artifact):
    body = client.ask("POST", infer_path(artifact), request_body(artifact), {"Content-Type": "application/json"})[1]
    return json.loads(body)["model_version"]


def clients(server, artifact):
    request = oip.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="features", datatype="FP32", shape=[1, 4]).contents.fp32_contents.extend([1, 2, 3, 4])
    http = [HttpCalls(server.http_port, infer_path(artifact), request_body(artifact)) for _ in range(2)]
    return [*http, GrpcCalls(server.grpc_port, request)]


def test_published_versions_are_rolled_out_and_bad_ones_are_not_while_the_controller_dies(tmp_path):
    artifact = publish_tiny(tmp_path / "artifacts")
    root = artifact.path.parents[1]
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with trimtab(artifact, version=None, rollout=QUICK, environment=state) as server:
        client = Client(url=server.url)
        with asking(clients(server, artifact), 60) as asked:
            publish_tiny(root)
            while not client.get("/v2/rollouts")["rollouts"]:
                time.sleep(0.1)
            assert answering(client, artifact) == "1", "what is published answers nobody yet"
            while client.get("/v2/rollouts")["rollouts"][0]["phase"] != "canary":
                time.sleep(0.1)
            (controller,) = [process for process, line in processes(server) if "ServeReplica:server:Server" in line]
            controller.kill()
            good = ended(client, "2")
            publish_nothing_but_nan(root)
            bad = ended(client, "3")
        assert asked.failures == []
        assert (good["phase"], bad["phase"]) == ("promoted", "rolled_back"), (good["decisions"], bad["decisions"])
        assert "canary" not in {each["phase"] for each in bad["decisions"]}, "no client had an answer of it"
        (rolled_back,) = [each for each in bad["decisions"] if each["phase"] == "rolling_back"]
        # Both what is no number and what the version before says otherwise tell against it: either may be sure first.
        assert "not finite: 100.00%" in " ".join(each["text"] for each in rolled_back["evidence"]["findings"])
        assert answering(client, artifact) == "2"
        client.ask("POST", "/v2/repository/models/tiny/load", b"{}", {"Content-Type": "application/json"})
        assert answering(client, artifact) == "2", "an order to load is no way around a rollout"
        told = client.get("/telemetry/api/changes?since=0")["changes"]
        assert {"promoting", "rolling back"} <= {
            phase for each in told for phase in ("promoting", "rolling back") if phase in each["text"]
        }
    with trimtab(artifact, version=None, rollout=QUICK, environment=state) as server:
        assert answering(Client(url=server.url), artifact) == "2", "a cluster that starts anew answers by it too"
