"""Does a request fail while a model's version is swapped? Real server, real clients, twenty new versions.

Each version is published beside the one that serves; every client keeps its connection busy meanwhile.
"""

import argparse
import json
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from benchmarks.load import Load, drive
from benchmarks.models import mlp
from benchmarks.servers import Server, infer_path, request_body, trimtab
from optimization.artifact.store import Artifact, publish

SWAP_LIMIT_S = 20.0


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    print(json.dumps(swap_figures(swaps=options.swaps, connections=options.connections)))


def swap_figures(*, swaps: int = 20, connections: int = 16) -> dict[str, float]:
    """Requests that failed while versions of a small MLP took over from one another."""
    with tempfile.TemporaryDirectory() as folder:
        return swap_failures(mlp(Path(folder)), swaps=swaps, connections=connections)


def swap_failures(source: Artifact, *, swaps: int, connections: int) -> dict[str, float]:
    """Requests that failed while `swaps` versions of `source` took over from one another."""
    with tempfile.TemporaryDirectory() as folder:
        first = published(source, Path(folder))
        with trimtab(first, version=None) as server:
            measured: list[Load] = []
            seconds: list[float] = []
            swapping = threading.Event()
            swapping.set()

            def clients() -> None:
                while swapping.is_set():
                    measured.append(
                        drive(
                            port=server.http_port,
                            path=infer_path(first),
                            body=request_body(first),
                            connections=connections,
                            duration_s=5,
                        )
                    )

            thread = threading.Thread(target=clients)
            thread.start()
            for number in range(swaps):
                began = time.monotonic()
                wait_for(server, published(source, Path(folder)))
                seconds.append(time.monotonic() - began)
                print(f"swap {number + 1}: {seconds[-1]:.2f} s", flush=True)
            swapping.clear()
            thread.join()
    return {
        "swap_failures": sum(each.num_failed for each in measured),
        "swap_requests": round(sum(each.requests_per_s * 5 for each in measured)),
        "swap_slowest_s": round(max(seconds), 2),
    }


def published(source: Artifact, root: Path) -> Artifact:
    """The next version, under `root`, of the same files."""
    manifest = source.manifest.model_dump(exclude={"schema_version", "version", "created", "files"})
    return publish(root, {inside: source.path / inside for inside in source.manifest.files}, **manifest)


def wait_for(server: Server, artifact: Artifact) -> None:
    """Return once requests that name no version are answered by `artifact`.

    Raises:
        TimeoutError: they are not within the limit.
    """
    deadline = time.monotonic() + SWAP_LIMIT_S
    while time.monotonic() < deadline:
        with urllib.request.urlopen(server.url + infer_path(artifact), request_body(artifact), timeout=10) as response:
            if json.load(response)["model_version"] == artifact.manifest.version:
                return
        time.sleep(0.02)
    raise TimeoutError(
        f"version {artifact.manifest.version} does not answer; the log ends:\n{server.log.read_text()[-3000:]}"
    )


if __name__ == "__main__":
    main()
