"""Processes that are killed under load: what clients see of it, and how long until all is as before."""

import argparse
import random
import tempfile
import time
from pathlib import Path

from benchmarks.servers import trimtab
from benchmarks.surviving.capacity import listed, replicas, seconds_until_full, wait_until_listed
from benchmarks.surviving.clients import asking, peak_per_s
from benchmarks.surviving.models import calls, walking
from benchmarks.throughput import Figures

KILLS, QUICK_KILLS = 10, 3
SHARE = 0.5
"""Of the peak, which is measured first."""


def replica_figures(options: argparse.Namespace) -> Figures:
    """Requests that failed, by HTTP and gRPC, while one of two replicas was killed again and again; and the longest
    time until there were two again.
    """
    with tempfile.TemporaryDirectory() as folder:
        artifact = walking(Path(folder))
        name = artifact.manifest.name
        with trimtab(artifact, scaling={"min_replicas": 2, "max_replicas": 2}) as server:
            wait_until_listed(server, name, 2)
            clients = calls(server, name)
            per_s = SHARE * peak_per_s(clients)
            recovered_s = []
            with asking(clients, per_s) as asked:
                for _ in range(kills_of(options)):
                    time.sleep(random.uniform(0.5, 1.5))
                    before = listed(server, name)
                    random.choice(replicas(server, f"{name}:Model")).kill()
                    recovered_s.append(seconds_until_full(server, name, before))
                time.sleep(1)
    print(
        f"{per_s:.0f} requests/s; {asked}\nrecovered in {', '.join(f'{each:.1f}' for each in recovered_s)} s",
        flush=True,
    )
    return {"killed_replica_failed": len(asked.failures), "recover_s": max(recovered_s)}


def kills_of(options: argparse.Namespace) -> int:
    """How many."""
    return QUICK_KILLS if options.quick else KILLS
