"""Figures of a version that is pushed: how often it crosses to each node, and how soon every replica answers by it.

A chain of MatMuls of 500 MB, one replica on each of three nodes, which hold the version before; pushed at the rate that
a user gets. With `--hosts` the nodes are hosts, and bytes are counted on their cables, whatever they are of; without,
the nodes share this machine, and each one's store counts what it took. 50 MB where one round is asked for.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import ray
from onnx import TensorProto, helper, numpy_helper
from ray import serve
from ray.cluster_utils import Cluster

from benchmarks.spreading import hosts
from benchmarks.throughput import Figures, Rounds
from deployments import app
from deployments.http.asgi import Call
from deployments.pushed import actors
from deployments.pushed.actors import RayStores
from deployments.pushed.push import push
from deployments.pushed.rate import MB_PER_S
from deployments.replicas.repository import DEPLOYMENT
from optimization.artifact.store import Artifact, publish

NAME, LAYERS, NODES = "chain", 8, 3
BEGIN = "publishing"
"""What the publisher prints as it begins to push."""
SWAP_S = 240.0


def figures(options: argparse.Namespace, rounds: Rounds) -> Figures:
    """Copies of the version that the most burdened node took, and seconds until all replicas answered by it."""
    size_mb = 50 if rounds.rounds == 1 else 500
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", __name__, folder, str(size_mb)]
        if options.hosts:
            return _on_hosts(command)
        done = subprocess.run([*command, "--alone"], stdout=subprocess.PIPE, text=True, check=True)
        return _figures_of(done.stdout)


def _on_hosts(command: list[str]) -> Figures:
    with hosts.cluster(NODES) as up:
        publisher, *others = up
        process = publisher.begin(command)
        assert process.stdout is not None
        output, before = "", {}
        for line in process.stdout:
            output += line
            if line.strip() == BEGIN:
                before = {host: (host.received_bytes(), host.sent_bytes()) for host in up}
        if process.wait():
            raise RuntimeError(f"the publisher failed:\n{output[-3000:]}")
        told = _figures_of(output)
        size = told.pop("size_bytes")
        copies = [(host.received_bytes() - before[host][0]) / size for host in others]
        sent = (publisher.sent_bytes() - before[publisher][1]) / size
        print(f"copies that came to the other hosts: {copies}; that the publisher's sent: {sent:.3f}", flush=True)
        return told | {"push_copies": max(copies)}


def _figures_of(output: str) -> Figures:
    (line,) = [line for line in output.splitlines() if line.startswith("{")]
    found: Figures = json.loads(line)
    return found


def _publish(root: Path, size_mb: int, seed: int) -> Artifact:
    width = round((size_mb * 1e6 / 4 / LAYERS) ** 0.5)
    draw = np.random.default_rng(seed)
    weights = [draw.standard_normal((width, width), np.float32) / width**0.5 for _ in range(LAYERS)]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [f"x{at}", f"w{at}"], [f"x{at + 1}"]) for at in range(LAYERS)],
        NAME,
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info(f"x{LAYERS}", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(weight, f"w{at}") for at, weight in enumerate(weights)],
    )
    file = root / "chain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    ends = [[{"name": name, "datatype": "FP32", "shape": ["batch", width]}] for name in ("x0", f"x{LAYERS}")]
    return publish(root, {"model.onnx": file}, name=NAME, inputs=ends[0], outputs=ends[1])


def _pushed_to_all(root: Path, size_mb: int) -> Figures:
    """What is measured, in a process of the publisher's node."""
    stores, catalogue = RayStores(), actors.catalogue()
    first, second = _publish(root, size_mb, 0), _publish(root, size_mb, 1)
    push(first.path, stores, catalogue, 10 * MB_PER_S)
    serve.start(proxy_location="Disabled")
    scaling = {"min_replicas": NODES, "max_replicas": NODES}
    held = {"max_batch_size": 4, "keep_versions": 1}
    settings = {"artifact": NAME, "artifacts": "cluster://", "scaling": scaling, **held}
    serve.run(app.model(settings), name=NAME, route_prefix=f"/v2/models/{NAME}")
    _wait_until_all_answer_by("1", second)
    size = sum(entry.size_bytes for entry in second.manifest.files.values())
    print(BEGIN, flush=True)
    began_s = time.monotonic()
    push(second.path, stores, catalogue, MB_PER_S)
    acknowledged_s = time.monotonic() - began_s
    _wait_until_all_answer_by("2", second)
    took_s = time.monotonic() - began_s
    copies = [stores.received(node, NAME)["2"] / size for node in stores.others()]
    serve.shutdown()  # type: ignore[no-untyped-call]
    return {"push_copies": max(copies), "push_s": took_s, "push_acknowledged_s": acknowledged_s, "size_bytes": size}


def _wait_until_all_answer_by(version: str, artifact: Artifact) -> None:
    width = artifact.manifest.inputs[0].shape[1]
    entry = {"name": "x0", "datatype": "FP32", "shape": [1, width], "data": [0.0] * int(width)}
    headers = ((b"content-type", b"application/json"),)
    request = Call(
        method="POST", path=f"/v2/models/{NAME}/infer", headers=headers, body=json.dumps({"inputs": [entry]}).encode()
    )
    handle = serve.get_deployment_handle(DEPLOYMENT, NAME)
    deadline = time.monotonic() + SWAP_S
    while True:
        answers = handle.broadcast("ask", request).results(timeout_s=60)
        told = [json.loads(answer.body).get("model_version", answer.body) for answer in answers]
        if told == [version] * NODES:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"replicas must answer by version {version} within {SWAP_S:.0f} s, got {told}")
        time.sleep(0.2)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Three nodes on this machine, each with a cache of its own."""
    os.environ["XDG_CACHE_HOME"] = str(root / "cache-1")
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for at in range(1, NODES):
        cluster.add_node(num_cpus=1, env_vars={"XDG_CACHE_HOME": str(root / f"cache-{at + 1}")})
    ray.init(address=cluster.address, log_to_driver=False, logging_level=40)
    yield
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("size_mb", type=int)
    parser.add_argument("--alone", action="store_true")
    options = parser.parse_args()
    if options.alone:
        with _alone(options.folder):
            told = _pushed_to_all(options.folder, options.size_mb)
            del told["size_bytes"]
    else:
        actors.connect()
        told = _pushed_to_all(options.folder, options.size_mb)
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    _main()
