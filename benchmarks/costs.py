"""Where the CPU time of a request goes: microseconds of each process, Trimtab's and the bare limit's.

`python -m benchmarks.costs [--seconds S] [--rounds N]`. Unlike requests per second, it hardly depends on what else the
machine does.
"""

import argparse
import json
import resource
import tempfile
from collections import defaultdict
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import psutil

from benchmarks.environments import BARE, MOSEC, ready, running
from benchmarks.models import mlp
from benchmarks.servers import Server, infer_path, processes, trimtab
from benchmarks.throughput import CONNECTIONS, Driver, driver_of

ROLES = {"/haproxy ": "haproxy", "ServeReplica:server": "server", "ServeReplica:telemetry": "telemetry"}
"""Processes by what their command line holds; the model's replica has its own name in it."""


def main() -> None:
    """Measure and print a line of JSON for each server and round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one round")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--peers", action="store_true", help="the bare limit and mosec as well")
    options = parser.parse_args()
    x = np.random.default_rng(0).standard_normal((1, 128)).round(4).tolist()[0]
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 128], "data": x}]}).encode()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        artifact = mlp(Path(folder))
        ours = stack.enter_context(trimtab(artifact))
        targets: dict[str, tuple[Server, Driver]] = {
            "trimtab": (ours, driver_of(ours.http_port, infer_path(artifact), body))
        }
        for peer in (BARE, MOSEC) if options.peers else ():
            server = stack.enter_context(running(peer, artifact.model_path))
            ready(peer, server, body)
            targets[peer.name] = (server, driver_of(server.http_port, peer.path, body))
        for _, driver in targets.values():  # warm up
            driver(options.connections, 1)
        for _ in range(options.rounds):
            for name, (server, driver) in targets.items():
                print(json.dumps({"of": name} | _cost(server, driver, options.connections, options.seconds)))


def _cost(server: Server, driver: Driver, connections: int, seconds: float) -> dict[str, float]:
    """Requests per second, and microseconds of CPU for each request, by process and in all."""
    before, wrk_before = _cpu_s(server), _children_s()
    load = driver(connections, seconds)
    spent = {role: cpu_s - before.get(role, 0) for role, cpu_s in _cpu_s(server).items()}
    spent["wrk"] = _children_s() - wrk_before
    number = load.requests_per_s * seconds
    costs = {role: round(1e6 * cpu_s / number, 1) for role, cpu_s in spent.items()}
    total = round(sum(costs.values()), 1)
    return {"per_s": round(load.requests_per_s), "p50_us": round(1e6 * load.p50_s), "us": total, **costs}


def _cpu_s(server: Server) -> dict[str, float]:
    spent: defaultdict[str, float] = defaultdict(float)
    with suppress(psutil.NoSuchProcess):
        every = [(psutil.Process(server.process.pid), "main"), *processes(server)]
        for process, command in every:
            role = next((role for mark, role in ROLES.items() if mark in command), "")
            role = role or ("replica" if ":Model" in command else "rest")
            times = process.cpu_times()
            spent[role] += times.user + times.system
    return spent


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
