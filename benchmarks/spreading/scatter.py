"""How much sooner two replicas answer one large request than one does: real servers, MiniLM of 1,024 rows.

Each replica has one thread. The figure is a ratio of medians.
"""

import json
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

from benchmarks.models import NUM_TOKENS, minilm
from benchmarks.servers import Server, infer_path, trimtab
from benchmarks.throughput import Figures, Rounds
from optimization.artifact.store import Artifact

ROWS = 1024


def speedup_figures(rounds: Rounds) -> Figures:
    """Seconds that one replica takes for the request, over those of two."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = minilm(Path(folder), takes_text=False)
        took = {replicas: _seconds(artifact, replicas, requests=1 + 2 * rounds.rounds) for replicas in (1, 2)}
    for replicas, seconds in took.items():
        print(f"{ROWS} rows over {replicas}: {', '.join(f'{each:.2f}' for each in seconds)} s", flush=True)
    return {"scatter_speedup": statistics.median(took[1]) / statistics.median(took[2])}


def _seconds(artifact: Artifact, replicas: int, requests: int) -> list[float]:
    """What each request took, but for the first."""
    scaling = {"min_replicas": replicas, "max_replicas": replicas}
    with trimtab(artifact, scaling=scaling) as server:
        return [_ask(server, artifact) for _ in range(requests)][1:]


def _ask(server: Server, artifact: Artifact) -> float:
    ids = np.random.default_rng(0).integers(1000, 20000, (ROWS, NUM_TOKENS))
    tensors = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    form = {"datatype": "INT64", "shape": [ROWS, NUM_TOKENS]}
    inputs = [
        {"name": name, "parameters": {"binary_data_size": array.nbytes}, **form} for name, array in tensors.items()
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    body = b"".join((head, *(array.tobytes() for array in tensors.values())))
    began = time.perf_counter()
    with urllib.request.urlopen(
        urllib.request.Request(server.url + infer_path(artifact), body, headers), timeout=120
    ) as response:
        response.read()
    return time.perf_counter() - began
