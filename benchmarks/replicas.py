"""What one more replica of MiniLM costs: private memory for its weights, and seconds until it answers.

It takes tokens: a tokenizer is no weights.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.models import minilm, mlp
from benchmarks.servers import free_port
from benchmarks.throughput import Figures
from optimization.artifact.store import MODEL

REPLICAS = 4


def figures() -> Figures:
    """Measured in a process of its own: Ray Serve reads its environment once."""
    output = subprocess.run([sys.executable, "-m", __spec__.name], check=True, stdout=subprocess.PIPE, text=True).stdout
    (line,) = (line for line in output.splitlines() if line.startswith("{"))  # Ray prints too
    found: Figures = json.loads(line)
    return found


def main() -> None:
    """Print both figures as JSON."""
    from deployments.launch.serve import end_ingress, set_environment

    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        set_environment(os.environ, Path(folder))
        import ray
        from ray import serve

        from benchmarks.empty_serve import build
        from deployments.app import model

        ray.init(num_cpus=16, include_dashboard=False, log_to_driver=False)
        serve.start(http_options={"port": free_port(), "host": "127.0.0.1"})
        try:
            large, small = minilm(Path(folder), takes_text=False), mlp(Path(folder))
            args = {"artifacts": folder, "max_batch_size": 1, "version": "1"}
            took: dict[str, float] = {}
            private: dict[str, float] = {}
            for artifact in (large, small):
                name = artifact.manifest.name
                took[name] = _grow(serve, model, args | {"artifact": name}, name)
                private[name] = _private_bytes(name)
            empty_s = _grow(serve, build, {}, "empty")
            weights = large.manifest.files[MODEL].size_bytes
            sharing = (private["minilm"] - private["mlp"]) / weights
            print(json.dumps({"weight_sharing": sharing, "cold_start_s": took["minilm"] - empty_s}))
        finally:
            serve.shutdown()  # type: ignore[no-untyped-call]
            ray.shutdown()
            end_ingress(folder)


def _grow(serve: Any, build: Callable[[dict[str, Any]], Any], args: dict[str, Any], name: str) -> float:
    """Seconds from the wish for one more replica to its being ready, the median of a few."""
    took: list[float] = []
    for replicas in range(1, REPLICAS + 1):
        application = build(args)
        deployment = application._bound_deployment.options(num_replicas=replicas)
        began = time.monotonic()
        serve.run(
            deployment.bind(*application._bound_deployment.init_args), name=name, route_prefix=f"/v2/models/{name}"
        )
        took.append(time.monotonic() - began)
    return statistics.median(took[1:])


def _private_bytes(name: str) -> float:
    """Memory that belongs to the last replica alone; files it maps are not counted."""
    replicas = [
        process
        for process in psutil.process_iter(["cmdline", "create_time"])
        if (process.info["cmdline"] or [""])[0].startswith(f"ray::ServeReplica:{name}:")
    ]
    youngest = max(replicas, key=lambda process: process.info["create_time"])
    text = Path(f"/proc/{youngest.pid}/smaps_rollup").read_text()
    found = re.search(r"^Anonymous:\s+(\d+)", text, re.MULTILINE)
    assert found is not None
    return 1024 * float(found[1])


if __name__ == "__main__":
    main()
