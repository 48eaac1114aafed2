"""Hours at half the peak with a new version every few minutes: failed requests, and memory that grows."""

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.servers import Server, trimtab
from benchmarks.surviving.capacity import wait_until_listed
from benchmarks.surviving.clients import asking, peak_per_s
from benchmarks.surviving.memory import BLOCKS, MIB, Slope, resident, slope
from benchmarks.surviving.models import calls, streams, walking
from benchmarks.swaps import published, wait_for
from benchmarks.throughput import Figures

KEYS = ("soak_failed", "soak_growing", "soak_mib_per_h", "soak_s")
SHARE = 0.5
QUICK_S, QUICK_SWAP_S = 90.0, 15.0
LOOKS_A_BLOCK = 10
SETTLED = 0.2
"""The first part of the time, which says nothing of what comes: caches fill, pools grow."""
NEGLIGIBLE = 0.01
"""Growth an hour, as a share of what a process holds, that is not worth a word however sure it is."""


def figures(options: argparse.Namespace) -> Figures:
    """Requests that failed; processes whose memory grows for sure, and the fastest of them in MiB an hour."""
    seconds, swap_s = (QUICK_S, QUICK_SWAP_S) if options.quick else (options.soak_s, options.swap_every_s)
    with tempfile.TemporaryDirectory() as folder:
        artifact = walking(Path(folder))
        name = artifact.manifest.name
        with trimtab(artifact, version=None, scaling={"min_replicas": 2, "max_replicas": 2}) as server:
            wait_until_listed(server, name, 2)
            clients = calls(server, name)
            per_s = SHARE * peak_per_s(clients)
            held = _Held(server)
            swaps = 0
            with asking([*clients, *streams(server, name, 1)], _rates(per_s)) as asked:
                began = time.monotonic()
                while (now_s := time.monotonic() - began) < seconds:
                    if now_s >= swap_s * (swaps + 1):
                        wait_for(server, published(artifact, Path(folder)))
                        swaps += 1
                    held.look(now_s)
                    time.sleep(seconds * (1 - SETTLED) / BLOCKS / LOOKS_A_BLOCK)
    print(f"{seconds:.0f} s at {per_s:.0f} calls/s, {swaps} swaps; {asked}", flush=True)
    slopes = held.slopes(SETTLED * seconds)
    for process, each in slopes.items():
        print(f"{process:40} {held.bytes[process][-1][1] / MIB:7.1f} MiB, {each}", flush=True)
    growing = [each.mib_per_h for process, each in slopes.items() if each.low > NEGLIGIBLE * held.mib(process)]
    return {
        "soak_failed": len(asked.failures),
        "soak_growing": len(growing),
        "soak_mib_per_h": max(growing, default=0.0),
        "soak_s": seconds,
    }


class _Held:
    """What each process held at each look."""

    def __init__(self, server: Server) -> None:
        self.bytes: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self._server = server

    def look(self, now_s: float) -> None:
        for process, num_bytes in resident(self._server).items():
            self.bytes[process].append((now_s, num_bytes))

    def mib(self, process: str) -> float:
        return self.bytes[process][-1][1] / MIB

    def slopes(self, from_s: float) -> dict[str, Slope]:
        """Of the processes that were there all the time since `from_s`."""
        late = {process: [look for look in looks if look[0] >= from_s] for process, looks in self.bytes.items()}
        most = max(len(looks) for looks in late.values())
        return {
            process: slope([at_s for at_s, _ in looks], [num_bytes for _, num_bytes in looks])
            for process, looks in late.items()
            if len(looks) == most >= BLOCKS
        }


def _rates(per_s: float) -> dict[str, float]:
    return {"HTTP": per_s / 2, "gRPC": per_s / 2}
