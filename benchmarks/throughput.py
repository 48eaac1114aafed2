"""Requests per second and latency: Trimtab, its peers and the bare limit, all up at once, rounds in turn."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.environments import BARE, PEERS, ready, running
from benchmarks.load import Load
from benchmarks.models import NUM_TOKENS, minilm, minilm_request, mlp, passing
from benchmarks.servers import infer_path, plain_ray_serve, trimtab
from benchmarks.wrk import drive
from optimization.artifact.store import Artifact

CONNECTIONS = 32


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How long to measure."""

    rounds: int
    seconds: float


Figures = dict[str, float]


def mlp_figures(rounds: Rounds) -> Figures:
    """A small MLP, JSON, 32 connections, against every peer; and one connection, against no framework at all."""
    x = np.random.default_rng(0).standard_normal((1, 128)).round(4).tolist()[0]
    request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 128], "data": x}]}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        targets = _all(stack, mlp(Path(folder)), request, plain=True)
        loaded = in_turn(targets, rounds, CONNECTIONS)
        alone = in_turn({name: targets[name] for name in ("trimtab", "bare")}, rounds, 1)
    rates, waits = (
        rates_of(loaded),
        {name: statistics.median(one.p50_s for one in each) for name, each in alone.items()},
    )
    figures = {f"mlp_over_{name}": rates["trimtab"] / rate for name, rate in rates.items() if name != "trimtab"}
    return figures | {"p50_over_bare_ms": 1e3 * (waits["trimtab"] - waits["bare"])}


def minilm_figures(rounds: Rounds) -> Figures:
    """MiniLM-L6 in fp32, 32 tokens, 32 connections, one thread, against a loop around ONNX Runtime."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        artifact = minilm(Path(folder))
        targets = _all(stack, artifact, minilm_request(), plain=False)
        targets["raw"] = lambda _, seconds: _raw_loop(artifact.model_path, seconds)
        rates = rates_of(in_turn(targets, rounds, CONNECTIONS))
    over = {name: rate / rates["raw"] for name, rate in rates.items()}
    peers = [peer.name for peer in PEERS]
    return {"minilm_over_raw": over["trimtab"], "minilm_best_peer": max(over[name] for name in peers)}


def binary_figures(rounds: Rounds) -> Figures:
    """A tensor of 1 MB there and back, as raw bytes and as JSON, four connections."""
    size = 2**18
    x = np.random.default_rng(0).standard_normal((1, size)).astype(np.float32)
    entry = {"name": "x", "datatype": "FP32", "shape": [1, size]}
    as_json = json.dumps({"inputs": [entry | {"data": [float(f"{value:.7g}") for value in x[0]]}]}).encode()
    parameters = {"parameters": {"binary_data_size": x.nbytes}}
    header = json.dumps({"inputs": [entry | parameters], "parameters": {"binary_data_output": True}}).encode()
    with tempfile.TemporaryDirectory() as folder:
        artifact = passing(Path(folder), size)
        with trimtab(artifact) as server:
            targets = {
                "json": driver_of(server.http_port, infer_path(artifact), as_json),
                "binary": driver_of(
                    server.http_port,
                    infer_path(artifact),
                    header + x.tobytes(),
                    {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"},
                ),
            }
            rates = rates_of(in_turn(targets, rounds, 4))
    return {"binary_over_json": rates["binary"] / rates["json"]}


Driver = Callable[[int, float], Load]
"""Drives one server with so many connections for so many seconds."""


def _all(stack: ExitStack, artifact: Artifact, request: Mapping[str, object], *, plain: bool) -> dict[str, Driver]:
    """Trimtab, every peer and the bare limit, started and answering."""
    body = json.dumps(request).encode()
    ours = stack.enter_context(trimtab(artifact))
    targets = {"trimtab": driver_of(ours.http_port, infer_path(artifact), body)}
    if plain:
        targets["rayserve"] = driver_of(stack.enter_context(plain_ray_serve(artifact)).http_port, "/", body)
    for peer in (BARE, *PEERS):
        sent = json.dumps({"requests": [request]}).encode() if peer.listed else body
        server = stack.enter_context(running(peer, artifact.model_path))
        ready(peer, server, sent)
        targets[peer.name] = driver_of(server.http_port, peer.path, sent)
    return targets


def driver_of(port: int, path: str, body: bytes | Sequence[bytes], headers: Mapping[str, str] | None = None) -> Driver:
    """Drives a server with `body`, or with several in turn."""
    return lambda connections, seconds: drive(
        port=port, path=path, body=body, connections=connections, duration_s=seconds, headers=headers
    )


def in_turn(targets: Mapping[str, Driver], rounds: Rounds, connections: int) -> dict[str, list[Load]]:
    """Each target's loads: a round of all of them, then the next."""
    found: dict[str, list[Load]] = {name: [] for name in targets}
    for driver in targets.values():  # warm up
        driver(connections, 1)
    for number in range(rounds.rounds):
        for name, driver in targets.items():
            found[name].append(driver(connections, rounds.seconds))
            print(f"round {number + 1}  {name:10} c={connections:<3} {found[name][-1]}", flush=True)
    return found


def rates_of(found: Mapping[str, list[Load]]) -> dict[str, float]:
    """The median requests per second of each."""
    return {name: statistics.median(one.requests_per_s for one in each) for name, each in found.items()}


RAW_LOOP = """
import json, sys, time
import numpy as np
sys.path.insert(0, "benchmarks/peers")
from tensors import Model

session = Model(sys.argv[1]).session
seconds = float(sys.argv[2]) / 6
best = 0
for size in (1, 2, 4, 8, 16, 32):
    feeds = {node.name: np.ones((size, int(sys.argv[3])), np.int64) for node in session.get_inputs()}
    session.run(None, feeds)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        session.run(None, feeds)
        count += size
    best = max(best, count / (time.perf_counter() - began))
print(best)
"""


def _raw_loop(model: Path, seconds: float) -> Load:
    """Samples per second of a loop around ONNX Runtime at its best batch, in a process of its own."""
    command = [sys.executable, "-c", RAW_LOOP, str(model), str(seconds), str(NUM_TOKENS)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Load(requests_per_s=float(output), p50_s=0, p99_s=0, num_failed=0)
