"""Shards of a table that are killed under load: look-ups, changes, and a model whose input is rows of the table."""

import argparse
import json
import random
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

from benchmarks.servers import Server, infer_path, processes, table
from benchmarks.surviving.capacity import WITHIN_S
from benchmarks.surviving.clients import Client, GrpcCalls, HttpCalls, asking, peak_per_s
from benchmarks.surviving.kills import SHARE, kills_of
from benchmarks.surviving.models import IDS, adding, ids_message
from benchmarks.throughput import Figures

TABLE, ROWS = "items", 100_000


def figures(options: argparse.Namespace) -> Figures:
    """Requests that failed while one shard after the other was killed, each once every row had its copies again."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = adding(Path(folder), TABLE, ROWS)
        args = {"table": TABLE, "rows": ROWS, "width": 8, "shards": 2}
        with table(args, artifact, {"rows": {"table": TABLE}}) as server:
            clients = _clients(server, infer_path(artifact), artifact.manifest.name)
            per_s = SHARE * peak_per_s(clients)
            with asking(clients, per_s) as asked:
                for _ in range(kills_of(options)):
                    time.sleep(random.uniform(0.5, 1.5))
                    before = _shards(server)
                    random.choice(before).kill()
                    _wait_until_whole(server, before)
                time.sleep(1)
    print(f"{per_s:.0f} requests/s; {asked}", flush=True)
    return {"killed_shard_failed": len(asked.failures)}


def _clients(server: Server, path: str, model: str, number: int = 4) -> list[Client]:
    assert server.grpc_port is not None
    ids = {"name": "ids", "datatype": "INT64", "shape": [len(IDS)], "data": IDS}
    rows = {"name": "rows", "datatype": "FP32", "shape": [len(IDS), 8], "data": [0.5] * 8 * len(IDS)}
    asked = {"name": "items", "datatype": "INT64", "shape": [1, len(IDS)], "data": IDS}
    bodies = [
        (f"/v2/embeddings/{TABLE}/lookup", [ids], "look-up"),
        (f"/v2/embeddings/{TABLE}/add", [ids, rows], "change"),
        (path, [asked], "model by HTTP"),
    ]
    http = [
        HttpCalls(server.http_port, where, json.dumps({"inputs": inputs}).encode(), kind=kind)
        for where, inputs, kind in bodies
        for _ in range(number)
    ]
    grpc = [GrpcCalls(server.grpc_port, ids_message(model)) for _ in range(number)]
    return [*http, *grpc]


def _shards(server: Server) -> list[psutil.Process]:
    return [process for process, command in processes(server) if command.startswith("ray::ShardActor")]


def _wait_until_whole(server: Server, before: list[psutil.Process]) -> None:
    """Return once there are as many shards as before, one of them new, and the table is whole."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        now = _shards(server)
        if len(now) == len(before) and set(now) != set(before) and _is_whole(server):
            return
        time.sleep(0.1)
    raise TimeoutError(f"{TABLE!r} must be whole again within {WITHIN_S:.0f} s; {server.log.read_text()[-2000:]}")


def _is_whole(server: Server) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}/v2/embeddings/{TABLE}/ready", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
