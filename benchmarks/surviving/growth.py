"""What stays in memory of versions that were loaded and unloaded, and of replicas that came and went."""

import argparse
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.servers import Server, trimtab
from benchmarks.surviving.capacity import wait_until_listed
from benchmarks.surviving.memory import MIB, growth, resident
from benchmarks.surviving.models import walking
from benchmarks.surviving.redeploy import redeploy
from benchmarks.swaps import published, wait_for
from benchmarks.throughput import Figures
from optimization.artifact.store import Artifact

EARLY, LATE = 20, 200
"""Changes after which memory is looked at."""
SCALE_EVERY = 10
"""One change in so many is of the number of replicas, the others load a new version or unload the model."""
SETTLE_S = 10.0


def figures(options: argparse.Namespace) -> Figures:
    """The most that a process holds after 200 changes over what it held after 20."""
    early, late = (EARLY // 2, LATE // 4) if options.quick else (EARLY, LATE)
    with tempfile.TemporaryDirectory() as folder:
        artifact = walking(Path(folder))
        with trimtab(artifact, version=None, num_cpus=0.25) as server:
            _change(server, artifact, range(early))
            before = _settled(server)
            _change(server, artifact, range(early, late))
            grown = growth(before, _settled(server))
    for name in sorted(grown, key=lambda name: -grown[name]):
        print(f"{name:40} {before[name] / MIB:7.1f} MiB x {grown[name]:.3f}", flush=True)
    return {"growth": max(grown.values())}


def _change(server: Server, artifact: Artifact, numbers: range) -> None:
    name = artifact.manifest.name
    for number in numbers:
        if number % SCALE_EVERY == SCALE_EVERY - 1:
            replicas = 1 + number // SCALE_EVERY % 2
            redeploy(server, lambda application, to=replicas: application["deployments"][0].update(num_replicas=to))  # type: ignore[misc]
            wait_until_listed(server, name, replicas)
        elif number % 2:
            order(server, name, "unload")
        else:
            fresh = published(artifact, artifact.path.parents[1])
            order(server, name, "load")
            wait_for(server, fresh)


def order(server: Server, model: str, what: str) -> None:
    """Load or unload the model."""
    request = urllib.request.Request(
        f"{server.url}/v2/repository/models/{model}/{what}", b"{}", {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=120).close()


def _settled(server: Server) -> dict[str, int]:
    time.sleep(SETTLE_S)
    return resident(server)
