"""What a collector takes in per CPU-second, everything on: gzip, journal, series, detection, storage; and its memory.

The collector is the command, a process of its own with a data folder; its CPU time is the operating system's. Senders
keep eight connections of HTTP, or calls of gRPC, busy, each waiting for its answer before it sends again.
"""

import argparse
import asyncio
import gzip
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grpc
import psutil

from benchmarks.observing.senders import Body, Replica, spans
from benchmarks.servers import free_port
from benchmarks.throughput import Figures

ROTEL = shutil.which("rotel") or shutil.which("rotel-agent")
"""A collector in Rust, where it is on the PATH; to an exporter that throws all away."""
NUM_REPLICAS = 64
CONNECTIONS = 8
WARM_S, MEASURED_S = 2.0, 8.0
MEMORY_REPLICAS = 128
"""With some eighty series each they have 10,000."""
MIB = 2.0**20

METHODS = {
    "/v1/metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/v1/traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
}


class Ports(NamedTuple):
    """Of OTLP."""

    http: int
    grpc: int


Receiver = Callable[[], AbstractContextManager[tuple[psutil.Process, Ports]]]


@contextmanager
def collector() -> Iterator[tuple[psutil.Process, Ports]]:
    """A running collector."""
    ports = [free_port() for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "collector.yaml"
        grpc_port, http_port, page_port = ports
        file.write_text(
            f"data_dir: {folder}/data\ngrpc_port: {grpc_port}\nhttp_port: {http_port}\npage_port: {page_port}\n"
        )
        command = [sys.executable, "-m", "telemetry", str(file)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
            try:
                asyncio.run(_answered(http_port))
                yield psutil.Process(running.pid), Ports(http_port, grpc_port)
            finally:
                running.terminate()


@contextmanager
def rotel() -> Iterator[tuple[psutil.Process, Ports]]:
    """rotel, by the same protocol."""
    grpc_port, http_port = free_port(), free_port()
    command = [str(ROTEL), "start", "--exporter", "blackhole", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}"]
    command += ["--otlp-http-endpoint", f"127.0.0.1:{http_port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            asyncio.run(_answered(http_port))
            yield psutil.Process(running.pid), Ports(http_port, grpc_port)
        finally:
            running.terminate()


def metric_figures(options: argparse.Namespace) -> Figures:
    """Metric points per CPU-second."""
    num = 6 if options.quick else 30
    first_ns = time.time_ns() - num * 10**9
    replicas = [list(Replica(number).bodies(num, first_ns)) for number in range(NUM_REPLICAS)]
    bodies = [body for second in zip(*replicas, strict=True) for body in second]
    figures = {
        "metrics_ingest": _per_cpu_second(collector, bodies, once=True),
        "metrics_ingest_grpc": _per_cpu_second(collector, bodies, once=True, is_grpc=True),
    }
    if ROTEL:
        figures["rotel_metrics_ingest"] = _per_cpu_second(rotel, bodies, once=True)
    return figures


def span_figures(options: argparse.Namespace) -> Figures:
    """Spans per CPU-second."""
    bodies = [spans(number) for number in range(8 if options.quick else 60)]
    figures = {
        "ingest_per_core": _per_cpu_second(collector, bodies, once=False),
        "ingest_per_core_grpc": _per_cpu_second(collector, bodies, once=False, is_grpc=True),
    }
    if ROTEL:
        figures["rotel_ingest"] = _per_cpu_second(rotel, bodies, once=False)
    return figures


def memory_figures(options: argparse.Namespace) -> Figures:
    """Largest resident memory under 10,000 spans/s and 10,000 series at a report a second."""
    seconds = 20 if options.quick else 600
    traces = itertools.cycle([spans(number) for number in range(20)])
    replicas = [Replica(number) for number in range(MEMORY_REPLICAS)]
    with collector() as (process, ports):
        return {"memory_mib": asyncio.run(_memory(process, ports.http, replicas, traces, seconds))}


async def _memory(
    process: psutil.Process, port: int, replicas: Sequence[Replica], traces: Iterator[Body], seconds: int
) -> float:
    most, began_s = 0.0, time.monotonic()
    for second in range(seconds):
        due = [body for replica in replicas for body in replica.bodies(1, time.time_ns())]
        due += [next(traces) for _ in range(20)]
        await _send(port, due, until_s=None)
        most = max(most, process.memory_info().rss / MIB)
        await asyncio.sleep(max(0.0, began_s + second + 1 - time.monotonic()))
    return most


def _per_cpu_second(receiver: Receiver, bodies: Sequence[Body], *, once: bool, is_grpc: bool = False) -> float:
    """How much is taken per CPU-second of a receiver; all bodies once, or again and again for a time."""
    with receiver() as (process, ports):
        send = partial(_send_grpc, ports.grpc) if is_grpc else partial(_send, ports.http)
        warm = bodies[:NUM_REPLICAS] if once else bodies
        asyncio.run(send(warm, until_s=None if once else time.monotonic() + WARM_S))
        before_s = _cpu_s(process)
        measured = bodies[NUM_REPLICAS:] if once else bodies
        num = asyncio.run(send(measured, until_s=None if once else time.monotonic() + MEASURED_S))
        return num / (_cpu_s(process) - before_s)


async def _send(port: int, bodies: Sequence[Body], until_s: float | None) -> int:
    """Send the bodies, over and over until a time, or once; returns how many points or spans were taken."""
    left = iter(bodies) if until_s is None else itertools.cycle(bodies)
    taken = 0

    async def connection() -> None:
        nonlocal taken
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in left:
            if until_s is not None and time.monotonic() > until_s:
                break
            head = (
                f"POST {body.path} HTTP/1.1\r\nhost: collector\r\ncontent-type: application/x-protobuf\r\n"
                f"content-encoding: gzip\r\ncontent-length: {len(body.content)}\r\n\r\n"
            )
            writer.write(head.encode() + body.content)
            answered = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in answered.partition(b"\r\n")[0]:
                raise RuntimeError(f"the collector must take every request, got {answered[:80]!r}")
            taken += body.num
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return taken


async def _send_grpc(port: int, bodies: Sequence[Body], until_s: float | None) -> int:
    """The same over gRPC, compressed anew by its client."""
    left = iter(bodies) if until_s is None else itertools.cycle(bodies)
    taken = 0
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", compression=grpc.Compression.Gzip) as channel:
        exports = {path: channel.unary_unary(method, bytes, bytes) for path, method in METHODS.items()}

        async def call() -> None:
            nonlocal taken
            for body in left:
                if until_s is not None and time.monotonic() > until_s:
                    break
                await exports[body.path](gzip.decompress(body.content))
                taken += body.num

        await asyncio.gather(*(call() for _ in range(CONNECTIONS)))
    return taken


def _cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


async def _answered(port: int) -> None:
    for _ in range(300):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise RuntimeError("the collector must listen within 30 s")
