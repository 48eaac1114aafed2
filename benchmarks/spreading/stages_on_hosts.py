"""A hop from stage to stage across hosts: the uncut model and the first stage on one host, the second stage on another.

Both are asked by a process of the first host, by Ray Serve's handles and no ingress; what differs is the hop.
"""

import json
import statistics
import sys
import time
from typing import Any

import ray
import yaml
from ray import serve

from benchmarks.models import minilm_request
from benchmarks.spreading import hosts
from benchmarks.throughput import Figures
from deployments.http.asgi import Call
from deployments.replicas.repository import DEPLOYMENT
from optimization.artifact.store import Artifact

STARTED_S = 120.0
MIN_REQUESTS = 50


def figures(whole: Artifact, parts: Artifact, seconds: float) -> Figures:
    """Milliseconds that the hop adds."""
    folder = whole.path.parents[1]
    with hosts.cluster(2, cpus=2) as (first, second):
        file = folder / "serve_config.yaml"
        file.write_text(yaml.safe_dump(_config(whole, parts, str(folder), first.address, second.address)))
        server = first.begin([sys.executable, "-m", "ray.serve.scripts", "run", str(file), "--address", "auto"])
        try:
            names = [whole.manifest.name, parts.manifest.name]
            output = first.run([sys.executable, "-m", __name__, str(seconds), *names])
        finally:
            server.kill()
    uncut_s, staged_s = json.loads(output.splitlines()[-1])
    print(f"p50 across hosts: uncut {1e3 * uncut_s:.2f} ms, stages {1e3 * staged_s:.2f} ms", flush=True)
    return {"stages_hop_ms": 1e3 * (staged_s - uncut_s)}


def _config(whole: Artifact, parts: Artifact, folder: str, first: str, second: str) -> dict[str, Any]:
    return {
        "proxy_location": "Disabled",
        "applications": [
            _application(whole, "model", folder, {DEPLOYMENT: first}),
            _application(parts, "pipeline", folder, {DEPLOYMENT: first, "part-2": second}),
        ],
    }


def _application(artifact: Artifact, builder: str, folder: str, places: dict[str, str]) -> dict[str, Any]:
    """Each deployment on the host that `places` says."""
    name = artifact.manifest.name
    return {
        "name": name,
        "route_prefix": f"/v2/models/{name}",
        "import_path": f"deployments.app:{builder}",
        "args": {"artifact": name, "artifacts": folder},
        "deployments": [
            {"name": each, "ray_actor_options": {"num_cpus": 0, "resources": {f"node:{address}": 0.001}}}
            for each, address in places.items()
        ],
    }


def _p50_s(names: list[str], seconds: float) -> list[float]:
    """Median seconds of a request to each of the applications, in turn."""
    headers, body = ((b"content-type", b"application/json"),), json.dumps(minilm_request()).encode()
    handles = {name: serve.get_app_handle(name) for name in names}
    taken: dict[str, list[float]] = {name: [] for name in names}
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s or len(taken[names[0]]) < MIN_REQUESTS:
        for name, handle in handles.items():
            request = Call(method="POST", path=f"/v2/models/{name}/infer", headers=headers, body=body)
            began_s = time.perf_counter()
            answer = handle.ask.remote(request).result(timeout_s=30)
            taken[name].append(time.perf_counter() - began_s)
            if answer.status != 200:
                raise RuntimeError(f"{name} answered {answer.status}: {answer.body!r}")
    return [statistics.median(each[5:]) for each in taken.values()]


def _wait_until_running(names: list[str]) -> None:
    deadline_s = time.monotonic() + STARTED_S
    while True:
        states = {name: each.status for name, each in serve.status().applications.items()}
        if all(states.get(name) == "RUNNING" for name in names):
            return
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{', '.join(names)} must run within {STARTED_S:.0f} s, got {states}")
        time.sleep(0.5)


if __name__ == "__main__":
    ray.init(address="auto", log_to_driver=False)
    _wait_until_running(sys.argv[2:])
    print(json.dumps(_p50_s(sys.argv[2:], float(sys.argv[1]))))
