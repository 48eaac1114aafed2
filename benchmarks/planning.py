"""How far the capacity planner's p99 is from the measured one.

    served with 1, 2, 3, 4 replicas, as far as there are CPUs for them and for the client
        -> measured while idle, as `plan --url` does -> asked on a clock at 50 and 70 % of the peak -> compared

The planner sees the idle server alone. Requests come on a clock, independently of each other, whatever becomes of
those before.
"""

import argparse
import asyncio
import itertools
import json
import math
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import psutil
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from pydantic import ByteSize

from benchmarks.servers import Server, infer_path, trimtab
from benchmarks.surviving.capacity import wait_until_listed
from benchmarks.throughput import Figures
from benchmarks.wrk import drive
from deployments.commands.client import Client
from deployments.placing.traffic import ExpectedModel, Node
from deployments.planning import measuring, service
from deployments.planning.capacity import Prediction, predicted
from optimization.artifact.store import Artifact
from optimization.running.adopt import adopt

REPLICAS = (1, 2, 3, 4)
SHARES = (0.5, 0.7)
"""Of the peak."""
MEASURE_S, ASK_S = 8.0, 20.0
ROUNDS, QUICK_ROUNDS = 3, 1
CHANNELS, SIDE, LAYERS, WIDTH = 48, 32, 4, 16
"""Of a network whose calls take some milliseconds of one CPU's arithmetic, so that replicas share no bottleneck."""


def error_figures(options: argparse.Namespace) -> Figures:
    """The largest share by which a predicted p99 misses the measured one: medians of rounds, over replicas and loads.
    One CPU is left to client, ingress and Ray, so more replicas than the others are not measured, and said.
    """
    cpus = len(psutil.Process().cpu_affinity())
    found: dict[str, float] = {}
    for num_replicas in REPLICAS:
        if num_replicas > max(1, cpus - 1):
            print(f"{num_replicas} replicas: not measured, with {cpus} CPUs", flush=True)
            continue
        found |= _errors(num_replicas, cpus, QUICK_ROUNDS if options.quick else ROUNDS)
    return {"plan_error": max(abs(error) for error in found.values()), **found}


def _errors(num_replicas: int, cpus: int, rounds: int) -> dict[str, float]:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, WIDTH], "data": [0.5] * WIDTH}]})
    with tempfile.TemporaryDirectory() as folder:
        artifact = convolutions(Path(folder))
        scaling = {"min_replicas": num_replicas, "max_replicas": num_replicas}
        with trimtab(artifact, scaling=scaling) as server:
            wait_until_listed(server, artifact.manifest.name, num_replicas)
            asked = _Asked(server, artifact, body.encode(), cpus)
            asked.peak(num_replicas)
            peak_per_s = statistics.median(asked.peak(num_replicas) for _ in range(rounds))
            pairs: dict[float, list[tuple[float, float]]] = {share: [] for share in SHARES}
            for number, share in itertools.product(range(rounds), SHARES):
                rate = share * peak_per_s
                expected = asked.predicted(num_replicas, rate, seed=number)
                latency_s, lag_s = asked.at_rate(rate, seed=number)
                p50_s, p99_s = np.quantile(latency_s, (0.5, 0.99), method="higher").tolist()
                pairs[share].append((expected.p99_s, p99_s))
                print(
                    f"{num_replicas} replicas, {rate:.0f} requests/s, {100 * share:.0f} % of the peak: p50 and p99 "
                    f"{1e3 * expected.p50_s:.2f} and {1e3 * expected.p99_s:.2f} ms planned, {1e3 * p50_s:.2f} and "
                    f"{1e3 * p99_s:.2f} measured of {len(latency_s)}; {100 * expected.utilisation:.0f} % busy; the "
                    f"client was late by {1e3 * lag_s:.1f} ms at most in 99 of 100",
                    flush=True,
                )
    medians = {share: [statistics.median(each) for each in zip(*found, strict=True)] for share, found in pairs.items()}
    return {
        f"plan_error_{num_replicas}_at_{round(100 * share)}": planned_s / measured_s - 1
        for share, (planned_s, measured_s) in medians.items()
    }


@dataclass(frozen=True, kw_only=True)
class _Request:
    path: str
    body: bytes

    @property
    def text(self) -> bytes:
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


class _Asked:
    """A server that is measured: idle, at its peak, and at a rate."""

    def __init__(self, server: Server, artifact: Artifact, body: bytes, cpus: int) -> None:
        self._server, self._name, self._cpus = server, artifact.manifest.name, cpus
        self._request = _Request(path=infer_path(artifact), body=body)

    def peak(self, num_replicas: int) -> float:
        """Requests per second when as many as can are always under way."""
        connections = 16 * num_replicas
        port, path, body = self._server.http_port, self._request.path, self._request.body
        return drive(port=port, path=path, body=body, connections=connections, duration_s=4).requests_per_s

    def predicted(self, num_replicas: int, rate: float, seed: int) -> Prediction:
        """What the planner says of so many replicas, of an idle server."""
        client = Client(url=self._server.url)
        request = (self._request.body, {"Content-Type": "application/json"})
        samples = measuring.measured(client, self._name, request, MEASURE_S, lambda _: None)
        node = Node(name="here", cpus=self._cpus, memory=ByteSize(2**40))
        model = ExpectedModel(artifact=self._name, requests_per_s=rate, weights=ByteSize(0))
        return predicted(service.of_samples(model, node, samples), num_replicas, node, seed=seed)

    def at_rate(self, rate: float, seed: int) -> tuple[NDArray[np.float64], float]:
        """Seconds that requests took that began on a clock, infinite where refused; and how late the client itself was
        in 99 of 100 of them."""
        random = np.random.default_rng(seed)
        starts = np.cumsum(random.exponential(1 / rate, math.ceil(rate * ASK_S)))
        found = asyncio.run(_on_clock(self._server.http_port, self._request.text, starts))
        latency_s, lag_s = (np.asarray(each) for each in zip(*found, strict=True))
        return latency_s, float(np.quantile(lag_s, 0.99))


async def _on_clock(port: int, request: bytes, starts: NDArray[np.float64]) -> list[tuple[float, float]]:
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    began = time.perf_counter()

    async def one(at_s: float) -> tuple[float, float]:
        sent_s = time.perf_counter()
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2]
        await reader.readexactly(int(length[: length.index(b"\r")]))
        idle.append((reader, writer))
        is_answered = head.startswith(b"HTTP/1.1 200")
        return time.perf_counter() - sent_s if is_answered else math.inf, sent_s - began - at_s

    tasks = []
    for at_s in starts.tolist():
        if (left_s := at_s - (time.perf_counter() - began)) > 0:
            await asyncio.sleep(left_s)
        tasks.append(asyncio.create_task(one(at_s)))
    found = await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    return found


def convolutions(root: Path) -> Artifact:
    """Publish a stack of convolutions with random weights; `x` [batch, 16] in, `y` out."""
    random = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        scale = math.prod(shape[1:]) ** -0.5
        return numpy_helper.from_array((scale * random.standard_normal(shape)).astype(np.float32), name)

    tensors = [
        weights("spread", WIDTH, SIDE * SIDE),
        numpy_helper.from_array(np.asarray([-1, 1, SIDE, SIDE]), "picture"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "spread"], ["flat"]),
        helper.make_node("Reshape", ["flat", "picture"], ["c0"]),
    ]
    for layer in range(LAYERS):
        tensors.append(weights(f"w{layer}", CHANNELS, CHANNELS if layer else 1, 3, 3))
        nodes.append(helper.make_node("Conv", [f"c{layer}", f"w{layer}"], [f"a{layer}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"a{layer}"], [f"c{layer + 1}"]))
    nodes.append(helper.make_node("ReduceMean", [f"c{LAYERS}"], ["y"], axes=[2, 3], keepdims=0))
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CHANNELS])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "convolutions.onnx")
        return adopt(Path(folder) / "convolutions.onnx", root, "convolutions")
