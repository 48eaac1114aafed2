"""Processes that are killed under load: what clients see of it, and how long until all is as before."""

import argparse
import random
import tempfile
import time
from pathlib import Path

from benchmarks.servers import trimtab
from benchmarks.surviving.capacity import listed, replicas, seconds_until_full, wait_until_listed
from benchmarks.surviving.clients import Asked, asking, peak_per_s
from benchmarks.surviving.models import calls, walking
from benchmarks.throughput import Figures

KILLS, QUICK_KILLS = 10, 3
SHARE = 0.5
"""Of the peak, which is measured first."""


def replica_figures(options: argparse.Namespace) -> Figures:
    """Requests that failed, by HTTP and gRPC, while one of two replicas, and the only one, was killed again and again;
    and the longest time until there were as many again.
    """
    found = [_killed(number, kills_of(options)) for number in (2, 1)]
    return {
        "killed_replica_failed": sum(len(asked.failures) for asked, _ in found),
        "recover_s": max(max(recovered_s) for _, recovered_s in found),
    }


def _killed(num_replicas: int, kills: int) -> tuple[Asked, list[float]]:
    """What became of requests, and the seconds until there were `num_replicas` again after each kill."""
    recovered_s = []
    with tempfile.TemporaryDirectory() as folder:
        artifact = walking(Path(folder))
        name = artifact.manifest.name
        with trimtab(artifact, scaling={"min_replicas": num_replicas, "max_replicas": num_replicas}) as server:
            wait_until_listed(server, name, num_replicas)
            clients = calls(server, name)
            per_s = SHARE * peak_per_s(clients)
            with asking(clients, per_s) as asked:
                for _ in range(kills):
                    time.sleep(random.uniform(0.5, 1.5))
                    before = listed(server, name)
                    random.choice(replicas(server, f"{name}:Model")).kill()
                    recovered_s.append(seconds_until_full(server, name, before))
                time.sleep(1)
    seconds = ", ".join(f"{each:.1f}" for each in recovered_s)
    print(f"{num_replicas} replicas, {per_s:.0f} requests/s; {asked}\nrecovered in {seconds} s", flush=True)
    return asked, recovered_s


def kills_of(options: argparse.Namespace) -> int:
    """How many."""
    return QUICK_KILLS if options.quick else KILLS
