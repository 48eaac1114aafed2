"""Ten times the load that MiniLM can answer: does what it answers stay, and does its memory?

Open loop: requests start on a clock, whatever becomes of those before, so that a slow server is not spared.
"""

import asyncio
import json
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.models import minilm, minilm_request
from benchmarks.servers import infer_path, replica, trimtab
from benchmarks.throughput import Figures, Rounds
from benchmarks.wrk import drive

TIMES = 10
TIMEOUT_S = 30.0


def overload_figures(rounds: Rounds) -> Figures:
    """Goodput under ten times the peak, over the peak; growth of the replica's resident memory meanwhile."""
    duration_s = rounds.rounds * rounds.seconds
    body = json.dumps(minilm_request()).encode()
    with tempfile.TemporaryDirectory() as folder:
        artifact = minilm(Path(folder))
        with trimtab(artifact) as server:
            path = infer_path(artifact)
            drive(port=server.http_port, path=path, body=body, connections=128, duration_s=5)
            peak = drive(port=server.http_port, path=path, body=body, connections=64, duration_s=duration_s)
            process = replica(server, artifact.manifest.name)
            before = process.memory_info().rss
            with _HighWater(process) as highest:
                found = asyncio.run(
                    _open_loop(server.http_port, path, body, TIMES * peak.requests_per_s, max(duration_s, 8))
                )
    print(f"peak {peak.requests_per_s:.0f}/s, then {found}", flush=True)
    return {
        "overload_goodput": found.good_per_s / peak.requests_per_s,
        "overload_growth": highest.bytes / before - 1,
    }


@dataclass(kw_only=True)
class Offered:
    """What became of requests that started on a clock."""

    seconds: float
    num_sent: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    """Requests by status; 0 for those whose connection broke."""

    @property
    def good_per_s(self) -> float:
        """Requests answered with a result, per second."""
        return self.statuses.get(200, 0) / self.seconds


async def _open_loop(port: int, path: str, body: bytes, rate: float, duration_s: float) -> Offered:
    request = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    offered = Offered(seconds=duration_s)
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    began = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()
    while (now := time.perf_counter() - began) < duration_s:
        while offered.num_sent < rate * now:
            offered.num_sent += 1
            task = asyncio.create_task(_one(port, request, idle, offered, began + duration_s))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.002)
    await asyncio.wait(tasks, timeout=TIMEOUT_S)
    for _, writer in idle:
        writer.close()
    return offered


async def _one(
    port: int,
    request: bytes,
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    offered: Offered,
    end: float,
) -> None:
    status = 0
    try:
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = head.lower().partition(b"content-length: ")[2]
        await reader.readexactly(int(length[: length.index(b"\r")]))
        idle.append((reader, writer))
    except (OSError, asyncio.IncompleteReadError):
        pass
    if time.perf_counter() < end:  # what comes later was not answered in this time
        offered.statuses[status] = offered.statuses.get(status, 0) + 1


class _HighWater:
    """The most resident memory of a process while the block runs."""

    def __init__(self, process: psutil.Process) -> None:
        self.bytes = 0
        self._process = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_HighWater":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self.bytes = max(self.bytes, self._process.memory_info().rss)
