"""Replicas that go in order: fewer of them, and new ones for old by a redeploy. No client may notice."""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.servers import trimtab
from benchmarks.surviving.capacity import replicas, wait_until_listed, wait_until_running
from benchmarks.surviving.clients import Client, asking, peak_per_s
from benchmarks.surviving.models import calls, streams, walking
from benchmarks.surviving.redeploy import redeploy
from benchmarks.throughput import Figures

MOST, QUICK_MOST = 4, 2
"""Replicas, of which one is left."""
SHARE = 0.5
"""Of the peak, for calls. Streams are opened one after the other."""


def figures(options: argparse.Namespace) -> Figures:
    """Calls that failed and streams that were cut while replicas became one, and that one was replaced."""
    most = QUICK_MOST if options.quick else MOST
    with tempfile.TemporaryDirectory() as folder:
        artifact = walking(Path(folder))
        name = artifact.manifest.name
        scaling = {"min_replicas": most, "max_replicas": most}
        with trimtab(artifact, scaling=scaling, num_cpus=0.25) as server:
            wait_until_listed(server, name, most)
            short, long = calls(server, name), streams(server, name)
            per_s = SHARE * peak_per_s(short)
            every: list[Client] = [*short, *long]
            rates = {"HTTP": per_s / 2, "gRPC": per_s / 2}
            with asking(every, rates) as asked:
                time.sleep(2)
                redeploy(server, lambda application: application["deployments"][0].update(num_replicas=1))
                began = time.monotonic()
                wait_until_running(server, f"{name}:Model", 1)
                shrunk_s = time.monotonic() - began
                (before,) = replicas(server, f"{name}:Model")
                redeploy(server, lambda application: application["args"].update(max_queue_size=300))
                began = time.monotonic()
                wait_until_running(server, f"{name}:Model", 1, without=before.pid)
                replaced_s = time.monotonic() - began
                time.sleep(2)
    print(f"{per_s:.0f} calls/s; {most} to 1 in {shrunk_s:.1f} s, replaced in {replaced_s:.1f} s; {asked}", flush=True)
    return {"drain_failed": len(asked.failures)}
