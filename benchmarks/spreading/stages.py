"""MiniLM cut in two stages against MiniLM as one graph: real servers, the same two cores, 32 tokens.

The stages have one thread each, and so has each of two replicas of the uncut model: both may use both cores. Answers
are compared one request at a time, latencies at one connection, rates at 32, in turn.
"""

import argparse
import json
import statistics
import tempfile
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.models import NUM_TOKENS, minilm, minilm_request
from benchmarks.servers import Server, infer_path, pipeline, trimtab
from benchmarks.spreading import stages_on_hosts
from benchmarks.throughput import CONNECTIONS, Figures, Rounds, driver_of, in_turn, rates_of
from optimization.artifact.store import Artifact
from optimization.cutting.command import cut
from optimization.cutting.search import Wanted


def figures(options: argparse.Namespace, rounds: Rounds) -> Figures:
    """Largest difference of an answer; requests/s over the uncut model's; milliseconds that the hop adds.

    With `--hosts` that of a hop from host to host alone: all hosts are this machine, and a rate would tell nothing.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        whole, parts = _in_two(Path(folder))
        if options.hosts:
            return stages_on_hosts.figures(whole, parts, rounds.rounds * rounds.seconds)
        replicas = {"min_replicas": 2, "max_replicas": 2}
        uncut = stack.enter_context(trimtab(whole, scaling=replicas))
        staged = stack.enter_context(pipeline({"artifact": parts.manifest.name, "artifacts": folder}))
        servers = {"uncut": (uncut, infer_path(whole)), "stages": (staged, infer_path(parts))}
        difference = max(_difference(servers, rows, seed) for seed, rows in enumerate((1, 2, 5)))
        body = json.dumps(minilm_request()).encode()
        drivers = {name: driver_of(server.http_port, path, body) for name, (server, path) in servers.items()}
        waits = in_turn(drivers, rounds, 1)
        rates = rates_of(in_turn(drivers, rounds, CONNECTIONS))
    p50_s = {name: statistics.median(one.p50_s for one in each) for name, each in waits.items()}
    return {
        "stages_equal": difference,
        "stages_throughput": rates["stages"] / rates["uncut"],
        "stages_hop_ms": 1e3 * (p50_s["stages"] - p50_s["uncut"]),
    }


def _in_two(root: Path) -> tuple[Artifact, Artifact]:
    """MiniLM, and MiniLM in two parts."""
    whole = minilm(root, takes_text=False)
    parts, report = cut(whole, root, "minilm-2-stages", Wanted(stages=2, length=NUM_TOKENS))
    print("parts: " + ", ".join(f"{each.seconds * 1e3:.1f} ms" for each in report.stages), flush=True)
    return whole, parts


def _difference(servers: Mapping[str, tuple[Server, str]], rows: int, seed: int) -> float:
    random = np.random.default_rng(seed)
    lengths = random.integers(NUM_TOKENS // 2, NUM_TOKENS + 1, (rows, 1))
    tensors = {
        "input_ids": random.integers(1000, 20000, (rows, NUM_TOKENS)),
        "attention_mask": (np.arange(NUM_TOKENS) < lengths).astype(np.int64),
    }
    one, other = (_ask(server, path, tensors) for server, path in servers.values())
    return float(np.abs(one - other).max())


def _ask(server: Server, path: str, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    inputs = [
        {"name": name, "datatype": "INT64", "shape": array.shape, "data": array.ravel().tolist()}
        for name, array in tensors.items()
    ]
    request = urllib.request.Request(
        server.url + path, json.dumps({"inputs": inputs}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        (output,) = json.loads(response.read())["outputs"]
    return np.asarray(output["data"], np.float32)
