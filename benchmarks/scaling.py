"""How replicas follow the load. Real server, real clock, an MLP with 8 million weights.

Up: a replica is busy for a tenth of its time; then ten times as many requests come, and HAProxy's own counters tell
when the second replica has answered its first one. Then all requests end, the replicas go, and one more request wakes
one. Down: bursts come and go, and the replicas they need stay; when the bursts end one goes, while requests go on.
"""

import argparse
import csv
import http.client
import json
import math
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.load import drive
from benchmarks.models import mlp
from benchmarks.servers import free_port, infer_path, request_body, trimtab
from benchmarks.watch import requests

LIMIT_S = 60.0
CALM_S = 15.0
BURST_S = 3.0
REQUEST_EVERY_S = 0.05


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=32)
    connections = parser.parse_args().connections
    print(json.dumps(scaling_figures(connections=connections) | burst_figures(connections=connections)))


def scaling_figures(*, connections: int = 32) -> dict[str, float]:
    """Seconds until a second replica answers, until all have gone, and until a request has woken one."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = mlp(Path(folder), inputs=512, hidden=16384)
        name, path, body = artifact.manifest.name, infer_path(artifact), request_body(artifact)
        stats = free_port()
        settings: dict[str, Any] = {
            "max_batch_size": 8,
            "scaling": {"min_replicas": 0, "max_replicas": 2, "calm_s": CALM_S},
        }
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


def burst_figures(*, connections: int = 32, bursts: int = 8) -> dict[str, float]:
    """How often replicas went between bursts, seconds until one went after them, and requests that failed meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = mlp(Path(folder), inputs=512, hidden=16384)
        name, path, body = artifact.manifest.name, infer_path(artifact), request_body(artifact)
        stats = free_port()
        settings: dict[str, Any] = {
            "max_batch_size": 8,
            "scaling": {"min_replicas": 1, "max_replicas": 2, "calm_s": CALM_S},
        }
        with trimtab(artifact, environment={"RAY_SERVE_HAPROXY_STATS_PORT": str(stats)}, **settings) as server:
            load: dict[str, Any] = {"port": server.http_port, "path": path, "body": body, "connections": connections}
            most = flaps = failed = 0
            with steady(server.http_port, path, body) as statuses:
                for _ in range(bursts):
                    failed += drive(duration_s=BURST_S, **load).num_failed
                    time.sleep(BURST_S)
                    replicas = up(stats, name)
                    flaps += replicas < most
                    most = max(most, replicas)
                assert most == 2, "bursts must have brought a second replica"
                down_s = seconds_until(lambda: up(stats, name) == 1)
                time.sleep(BURST_S)
    failed += sum(status != 200 for status in statuses)
    return {"scale_flaps": flaps, "scale_down_s": down_s, "scale_down_failures": failed, "steady": len(statuses)}


@contextmanager
def steady(port: int, path: str, body: bytes) -> Iterator[list[int]]:
    """Two clients that ask over and over, one on a connection that stays; the statuses they get, 0 for none."""
    statuses: list[int] = []
    done = threading.Event()

    def client(*, stays: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
        while not done.is_set():
            time.sleep(REQUEST_EVERY_S)
            try:
                connection.request("POST", path, body)
                with connection.getresponse() as response:
                    response.read()
                    statuses.append(response.status)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # An ingress that reloads closes connections that are idle, as HTTP lets it: connect again.
                if not (stays and isinstance(error, http.client.RemoteDisconnected)):
                    statuses.append(0)
            if not stays:
                connection.close()

    threads = [threading.Thread(target=client, kwargs={"stays": stays}) for stays in (True, False)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        done.set()
        for thread in threads:
            thread.join()


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
        if row["pxname"] == f"http-{model}" and row["svname"] not in ("FRONTEND", "BACKEND") and row["bck"] == "0"
    ]


if __name__ == "__main__":
    main()
