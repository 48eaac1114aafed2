"""What a back-end never gets of all that the collector acknowledged: while it is away, and while it mostly refuses.

A collector runs as a command and forwards to a back-end here, which keeps the number of every span and point it takes.
Both are sent all the time; what was acknowledged and has not arrived a minute after the end is lost.
"""

import asyncio
import itertools
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import yaml
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.servers import free_port
from benchmarks.throughput import Figures, Rounds

BATCH = 100
"""Spans, and points, of a request."""
EVERY_S = 0.05
ARRIVING_S = 60.0
HEADERS = {"content-type": "application/x-protobuf"}


@dataclass
class BackEnd:
    """Takes OTLP over gRPC and keeps what it took; `refuses` says which calls it answers with UNAVAILABLE."""

    port: int = field(default_factory=free_port)
    refuses: Callable[[], bool] = lambda: False
    spans: set[int] = field(default_factory=set)
    points: set[int] = field(default_factory=set)
    num_refused: int = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Be there while the block runs."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        package = "opentelemetry.proto.collector"
        for service, take in (("trace.v1.TraceService", self._spans), ("metrics.v1.MetricsService", self._points)):
            handler = grpc.unary_unary_rpc_method_handler(self._answering(take))
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(f"{package}.{service}", {"Export": handler}),)
            )
        server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(grace=0)

    def _answering(self, take: Callable[[bytes], None]) -> Callable[..., Awaitable[bytes]]:
        async def export(body: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
            if self.refuses():
                self.num_refused += 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
            take(body)
            return b""

        return export

    def _spans(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.spans |= {int(span.name) for scope in resource.scope_spans for span in scope.spans}

    def _points(self, body: bytes) -> None:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            self.points |= {
                point.as_int
                for scope in resource.scope_metrics
                for metric in scope.metrics
                for point in metric.gauge.data_points
            }


@dataclass
class Acknowledged:
    """What a sender was told is taken."""

    spans: set[int] = field(default_factory=set)
    points: set[int] = field(default_factory=set)


def outage_figures(options: Namespace, _: Rounds) -> Figures:
    """The back-end goes away for 30 s (5 s where one only looks), amid what is sent."""
    away_s = 5.0 if options.quick else 30.0

    async def course(back_end: BackEnd) -> None:
        async with back_end.listening():
            await asyncio.sleep(3)
        await asyncio.sleep(away_s)

    lost, sent, _refused = asyncio.run(_lost(BackEnd(), course))
    print(f"back-end away for {away_s:g} s: {lost} lost of {sent} acknowledged")
    return {"outage_lost_backend": lost}


def unavailable_figures(options: Namespace, _: Rounds) -> Figures:
    """The back-end answers seven of ten calls with UNAVAILABLE."""
    seconds = 5.0 if options.quick else 30.0
    refusals = itertools.cycle([True, True, False, True, True, True, False, True, True, False])

    async def course(back_end: BackEnd) -> None:
        async with back_end.listening():
            await asyncio.sleep(seconds)

    lost, sent, refused = asyncio.run(_lost(BackEnd(refuses=lambda: next(refusals)), course))
    print(f"70 % of calls UNAVAILABLE for {seconds:g} s: {lost} lost of {sent} acknowledged, {refused} calls refused")
    return {"outage_lost_unavailable": lost}


async def _lost(back_end: BackEnd, course: Callable[[BackEnd], Awaitable[None]]) -> tuple[int, int, int]:
    """(lost, acknowledged, calls refused) while `course` runs; then the back-end is there until all has arrived."""
    acknowledged, is_over = Acknowledged(), asyncio.Event()
    with tempfile.TemporaryDirectory() as folder:
        async with _collector(Path(folder), back_end.port) as url:
            sending = asyncio.create_task(_send(url, acknowledged, is_over))
            await course(back_end)
            is_over.set()
            await sending
            async with back_end.listening():
                end_s = time.monotonic() + ARRIVING_S
                while _missing(acknowledged, back_end) and time.monotonic() < end_s:
                    await asyncio.sleep(0.1)
    num = len(acknowledged.spans) + len(acknowledged.points)
    return _missing(acknowledged, back_end), num, back_end.num_refused


def _missing(acknowledged: Acknowledged, back_end: BackEnd) -> int:
    return len(acknowledged.spans - back_end.spans) + len(acknowledged.points - back_end.points)


async def _send(url: str, acknowledged: Acknowledged, is_over: asyncio.Event) -> None:
    async with httpx.AsyncClient(headers=HEADERS, timeout=30) as client:
        for first in itertools.count(step=BATCH):
            if is_over.is_set():
                return
            numbers = range(first, first + BATCH)
            for path, body, taken in (
                ("traces", _spans_body(numbers), acknowledged.spans),
                ("metrics", _points_body(numbers), acknowledged.points),
            ):
                answer = await client.post(f"{url}/v1/{path}", content=body)
                if answer.status_code == 200 and not answer.content:
                    taken.update(numbers)
            await asyncio.sleep(EVERY_S)


def _spans_body(numbers: range) -> bytes:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    now_ns = time.time_ns()
    for number in numbers:
        spans.add(
            trace_id=number.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            name=str(number),
            start_time_unix_nano=now_ns,
            end_time_unix_nano=now_ns + 1,
        )
    return request.SerializeToString()


def _points_body(numbers: range) -> bytes:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="benchmark.number")
    for number in numbers:
        metric.gauge.data_points.add(time_unix_nano=time.time_ns(), as_int=number)
    return request.SerializeToString()


@asynccontextmanager
async def _collector(folder: Path, port: int) -> AsyncIterator[str]:
    """`python -m telemetry` that forwards to the port; gives where it takes OTLP over HTTP."""
    ports = {name: free_port() for name in ("grpc_port", "http_port", "page_port")}
    back_end = {"name": "benchmark", "endpoint": f"http://127.0.0.1:{port}"}
    file = folder / "collector.yaml"
    file.write_text(yaml.safe_dump({**ports, "data_dir": str(folder / "data"), "forwarding": [back_end]}))
    url = f"http://127.0.0.1:{ports['http_port']}"
    with subprocess.Popen([sys.executable, "-m", "telemetry", str(file)], stderr=subprocess.DEVNULL) as process:
        try:
            async with httpx.AsyncClient() as client:
                for _ in range(600):
                    try:
                        await client.post(f"{url}/v1/traces", content=b"", headers=HEADERS)
                        break
                    except httpx.TransportError:
                        await asyncio.sleep(0.1)
            yield url
        finally:
            process.terminate()
