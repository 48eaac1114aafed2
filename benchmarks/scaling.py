"""How long from a tenfold load until a second replica answers? Real server, real clock, an MLP with 8 million weights.

A replica is busy for a tenth of its time; then ten times as many requests come, and HAProxy's own counters tell when
the second replica has answered its first one. Then all requests end, the replicas go, and one more request wakes one.
"""

import argparse
import csv
import json
import math
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from benchmarks.load import drive
from benchmarks.models import mlp
from benchmarks.servers import free_port, infer_path, request_body, trimtab
from benchmarks.watch import requests

LIMIT_S = 60.0
CALM_S = 15.0


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=32)
    print(json.dumps(scaling_figures(connections=parser.parse_args().connections)))


def scaling_figures(*, connections: int = 32) -> dict[str, float]:
    """Seconds until a second replica answers, until all have gone, and until a request has woken one."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = mlp(Path(folder), inputs=512, hidden=16384)
        name, path, body = artifact.manifest.name, infer_path(artifact), request_body(artifact)
        stats = free_port()
        settings = {"max_batch_size": 8, "scaling": {"min_replicas": 0, "max_replicas": 2, "calm_s": CALM_S}}
        with trimtab(artifact, environment={"RAY_SERVE_HAPROXY_STATS_PORT": str(stats)}, **settings) as server:
            ask(server.url + path, body)
            alone = drive(port=server.http_port, path=path, body=body, connections=1, duration_s=2)
            with requests(server.url + path, body, alone.requests_per_s / 10):
                time.sleep(CALM_S)
                assert answering(stats, name) == 1, "a tenth of the load must not scale"
            failed: list[int] = []
            stop = threading.Event()

            def load() -> None:
                while not stop.is_set():
                    found = drive(port=server.http_port, path=path, body=body, connections=connections, duration_s=2)
                    failed.append(found.num_failed)

            thread = threading.Thread(target=load)
            thread.start()
            up_s = seconds_until(lambda: answering(stats, name) == 2)
            stop.set()
            thread.join()
            gone_s = seconds_until(lambda: not up(stats, name))
            began = time.monotonic()
            ask(server.url + path, body)
            wake_s = round(time.monotonic() - began, 1)
    return {"scale_up_s": up_s, "scale_to_zero_s": gone_s, "wake_s": wake_s, "scale_failures": sum(failed)}


def ask(url: str, body: bytes) -> None:
    """One request, which must be answered."""
    with urllib.request.urlopen(url, body, timeout=LIMIT_S) as response:
        response.read()


def seconds_until(holds: Callable[[], bool]) -> float:
    """Seconds until that holds; infinite past the limit."""
    began = time.monotonic()
    while time.monotonic() - began < LIMIT_S:
        if holds():
            return round(time.monotonic() - began, 1)
        time.sleep(0.1)
    return math.inf


def up(stats: int, model: str) -> int:
    """Replicas of `model` that HAProxy sends requests to."""
    return sum(row["status"].startswith("UP") for row in _replicas(stats, model))


def answering(stats: int, model: str) -> int:
    """Replicas of `model` that have answered a request, as HAProxy counts them."""
    return sum(int(row["hrsp_2xx"] or 0) > 0 for row in _replicas(stats, model))


def _replicas(stats: int, model: str) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{stats}/stats;csv", timeout=5) as response:
        rows = list(csv.DictReader(response.read().decode().removeprefix("# ").splitlines()))
    return [
        row
        for row in rows
        if model in row["pxname"] and row["svname"] not in ("FRONTEND", "BACKEND") and row["bck"] == "0"
    ]


if __name__ == "__main__":
    main()
