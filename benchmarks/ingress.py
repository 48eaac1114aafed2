"""Requests per second of Trimtab against plain Ray Serve: one model, one replica, both up at once, rounds in turn.

Needs the digits artifact: `python -m optimization optimization/recipes/digits.yaml`.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.load import Load, drive
from optimization.artifact import Artifact, find, load

BIN = Path(sys.executable).parent
TRIMTAB, PLAIN = "trimtab", "plain_ray_serve"


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, help="directory of the artifact (default: the newest digits)")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one round")
    options = parser.parse_args()
    artifact = load(options.artifact or find(Path("artifacts"), "digits"))
    body = request_body(artifact)
    with ExitStack() as stack:
        peers = {
            TRIMTAB: (stack.enter_context(trimtab(artifact)), f"/v2/models/{artifact.manifest.name}/infer"),
            PLAIN: (stack.enter_context(plain(artifact)), "/"),
        }
        for port, path in peers.values():
            wait_until_answering(port, path, body)
            drive(port=port, path=path, body=body, connections=options.connections, duration_s=2)
        loaded: dict[str, list[Load]] = {name: [] for name in peers}
        alone: dict[str, list[Load]] = {name: [] for name in peers}
        for round_ in range(options.rounds):
            for name, (port, path) in peers.items():
                for found, connections in ((loaded, options.connections), (alone, 1)):
                    measured = drive(
                        port=port, path=path, body=body, connections=connections, duration_s=options.seconds
                    )
                    found[name].append(measured)
                    print(f"round {round_ + 1}  {name:16} c={connections:<3} {measured}", flush=True)
    rates = {name: statistics.median(each.requests_per_s for each in found) for name, found in loaded.items()}
    figures = {f"{name}_requests_per_s": round(rate, 1) for name, rate in rates.items()}
    figures |= {
        f"{name}_p50_ms_c1": round(1e3 * statistics.median(each.p50_s for each in found), 3)
        for name, found in alone.items()
    }
    figures["over_plain_ray_serve"] = round(rates[TRIMTAB] / rates[PLAIN], 2)
    figures["num_failed"] = sum(each.num_failed for found in (*loaded.values(), *alone.values()) for each in found)
    figures["connections"] = options.connections
    print(json.dumps(figures))


def request_body(artifact: Artifact) -> bytes:
    """One sample of zeros for every input of the artifact."""
    inputs: list[dict[str, Any]] = []
    for spec in artifact.manifest.inputs:
        shape = [size if isinstance(size, int) else 1 for size in spec.shape]
        count = 1
        for size in shape:
            count *= size
        inputs.append({"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": [0.0] * count})
    return json.dumps({"inputs": inputs}).encode()


@contextmanager
def trimtab(artifact: Artifact) -> Iterator[int]:
    """`serve run` as a user types it, with ports of its own."""
    config = yaml.safe_load(Path("serve_config.yaml").read_text())
    port = config["http_options"]["port"] = free_port()
    grpc = free_port()
    name = artifact.manifest.name
    config["applications"][0] |= {"name": name, "route_prefix": f"/v2/models/{name}"}
    settings = {"artifact": name, "artifacts": str(artifact.path.parents[1].absolute())}
    config["applications"][0]["args"] |= settings | {"version": artifact.manifest.version}
    config["applications"][-1]["args"] = {"grpc_port": grpc, "http_port": free_port()}
    with serving([str(BIN / "serve")], config, {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://localhost:{grpc}"}):
        yield port


@contextmanager
def plain(artifact: Artifact) -> Iterator[int]:
    """Ray Serve as installed."""
    port = free_port()
    config = {
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [
            {
                "name": "plain",
                "route_prefix": "/",
                "import_path": "benchmarks.plain_serve:build",
                "args": {"model": str(artifact.model_path.absolute())},
            }
        ],
    }
    with serving([sys.executable, "-m", "ray.serve.scripts"], config, {}):
        yield port


@contextmanager
def serving(command: list[str], config: dict[str, Any], environment: dict[str, str]) -> Iterator[None]:
    """`command run config`, in a Ray cluster of its own, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "config.yaml", Path(folder) / "log"
        file.write_text(yaml.safe_dump(config))
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "run", str(file), "--address", "local"],
                env=os.environ | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            time.sleep(1)
            if process.poll() is not None:
                sys.exit(f"{command} ended at once:\n{log.read_text()}")
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(90)


def wait_until_answering(port: int, path: str, body: bytes, timeout_s: float = 120) -> None:
    """Return when a request gets its 200."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.3)
    sys.exit(f"port {port} did not answer within {timeout_s} s")


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
