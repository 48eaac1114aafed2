"""Malformed requests and files: how many were tried, and how many crashed something, hung, or were answered by 5xx.

Requests go to `serve run serve_config.yaml` as a user starts it, through HAProxy: HTTP (models, server, page), gRPC,
OTLP by both. A crash is a process of the server that has ended, or a request of sound framing that was not answered.
Files are read by the code that reads them (`fuzz_files`). Seeds are fixed, and so is what is tried; each piece of all
(`--piece 2/5`) has seeds of its own.
"""

import argparse
import asyncio
import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from benchmarks.observing.senders import Replica, spans
from benchmarks.servers import Server, processes, trimtab
from benchmarks.surviving import fuzz_files, fuzz_http, mutations
from benchmarks.surviving.memory import role
from benchmarks.surviving.models import message, walking
from benchmarks.throughput import Figures
from deployments.oip import inference_pb2 as oip
from optimization.artifact.store import Artifact

NUMBERS = {"http": 80_000, "grpc": 40_000, "otlp": 40_000, "artifacts": 15_000, "recipes": 10_000, "manifests": 25_000}
QUICK = 50
"""Times fewer."""
SEED = 20_261_130
LONGEST_S = 20.0
AT_ONCE = 32
SETTLE_S = 5.0
_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
"""As 5xx; what gRPC's own library answers to a message of broken framing is not sent here."""


@dataclass
class Tally:
    """What became of what was tried."""

    tried: int = 0
    crashes: int = 0
    hangs: int = 0
    faults: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    """Answers, by status."""
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, what: str, request: object) -> None:
        """Count `what` as a crash, a hang or a fault, and keep the first few of them."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < 10:
            self.examples.append(f"{kind}: {what}: {request!r:.600}")


def figures(options: argparse.Namespace) -> Figures:
    """All of it."""
    piece, pieces = options.piece
    numbers = {kind: max(20, number // (QUICK if options.quick else pieces)) for kind, number in NUMBERS.items()}
    seed = SEED + 100 * piece
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        artifact = walking(Path(folder))
        with trimtab(artifact) as server:
            before = _settled(server)
            for offset, (kind, fuzz) in enumerate({"http": _http, "grpc": _grpc, "otlp": _otlp}.items()):
                one, began = Tally(), time.monotonic()
                asyncio.run(fuzz(server, artifact, numbers[kind], seed + offset, one))
                _tell(kind, one, time.monotonic() - began)
                _gather(tally, one)
            left = {process.pid for process, _ in processes(server)}
            gone = [name for pid, name in before.items() if pid not in left]
            tally.crashes += len(gone)
            print(f"processes of the server that have ended: {', '.join(gone) or 'none'}", flush=True)
    for kind in fuzz_files.KINDS:
        began = time.monotonic()
        one = _files(kind, numbers[kind], seed)
        _tell(kind, one, time.monotonic() - began)
        _gather(tally, one)
    return {
        "fuzz_tried": tally.tried,
        "fuzz_crashes": tally.crashes,
        "fuzz_hangs": tally.hangs,
        "fuzz_5xx": tally.faults,
    }


def _settled(server: Server) -> dict[int, str]:
    """Its processes, once none has come or gone for a while: the ingress is replaced as replicas come."""
    found: dict[int, str] = {}
    while (now := {process.pid: role(command) for process, command in processes(server)}) != found:
        found = now
        time.sleep(SETTLE_S)
    return found


def piece_of(text: str) -> tuple[int, int]:
    """Which of how many, of a text such as "2/5".

    Raises:
        ValueError: it is no such text.
    """
    piece, pieces = map(int, text.split("/"))
    if not 1 <= piece <= pieces:
        raise ValueError(f"a piece must be one of all, such as 2/5, got {text!r}")
    return piece, pieces


def _files(kind: str, number: int, seed: int) -> Tally:
    command = [sys.executable, "-m", "benchmarks.surviving.fuzz_files", kind, str(seed), str(number)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        found = json.loads(ran.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return Tally(crashes=1, examples=[f"crashes: the process ended with {ran.returncode}"])
    return Tally(
        tried=found["tried"],
        crashes=found["crashes"],
        hangs=found["hangs"],
        seen=Counter(refused=found["refused"], taken=found["tried"] - found["refused"]),
    )


async def _http(server: Server, artifact: Artifact, number: int, seed: int, tally: Tally) -> None:
    rng = random.Random(seed)
    requests = fuzz_http.valid(artifact)
    connections = [fuzz_http.Connection(server.http_port) for _ in range(AT_ONCE)]

    async def one(worker: int) -> None:
        is_sound, whole = fuzz_http.malformed(rng, requests)
        await _asked(connections[worker] if is_sound else fuzz_http.OneShot(server.http_port), whole, tally)

    await _many(number, one, tally)
    for connection in connections:
        connection.close()


async def _grpc(server: Server, artifact: Artifact, number: int, seed: int, tally: Tally) -> None:
    rng = random.Random(seed)
    name = artifact.manifest.name
    calls = [
        ("ModelInfer", message(name).SerializeToString()),
        ("ModelInfer", oip.ModelInferRequest(model_name=name, id="x").SerializeToString()),
        ("ModelMetadata", oip.ModelMetadataRequest(name=name, version="1").SerializeToString()),
        ("ModelReady", oip.ModelReadyRequest(name=name).SerializeToString()),
        ("ServerMetadata", b""),
        ("ServerReady", b""),
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        ask = {rpc: channel.unary_unary(f"/inference.GRPCInferenceService/{rpc}", None, None) for rpc, _ in calls}

        async def one(_: int) -> None:
            rpc, valid = rng.choice(calls)
            body = mutations.of_bytes(rng, valid, rng.choice(calls)[1])
            metadata = (("application", rng.choice([name, "server", "none", ""])),) if rng.random() < 0.5 else ()
            await _called(ask[rpc](body, metadata=metadata, timeout=LONGEST_S), (rpc, body, metadata), tally)

        await _many(number, one, tally)


async def _otlp(server: Server, _: Artifact, number: int, seed: int, tally: Tally) -> None:
    assert server.otlp_http_port is not None
    rng = random.Random(seed)
    connections = [fuzz_http.Connection(server.otlp_http_port) for _ in range(AT_ONCE)]
    bodies = {
        "metrics": [gzip.decompress(each.content) for each in Replica(0).bodies(2, 10**18)],
        "traces": [gzip.decompress(spans(1).content)],
        "logs": [_logs()],
    }
    services = {
        "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
        "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
        "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
    }
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.otlp_grpc_port}") as channel:
        ask = {signal: channel.unary_unary(f"/{service}/Export", None, None) for signal, service in services.items()}

        async def one(worker: int) -> None:
            signal = rng.choice(list(bodies))
            body = mutations.of_bytes(rng, rng.choice(bodies[signal]), rng.choice(bodies["metrics"]))
            if rng.random() < 0.5:
                await _called(ask[signal](body, timeout=LONGEST_S), (signal, body), tally)
                return
            kinds = ["application/x-protobuf"] * 4 + ["application/json", "text/plain", "application/json; charset=x"]
            headers = {"Content-Type": rng.choice(kinds)}
            if rng.random() < 0.3:
                headers["Content-Encoding"] = rng.choice(["gzip", "deflate", "zstd", "br", "\xff"])
                body = gzip.compress(body, 1) if rng.random() < 0.7 else body
            await _asked(connections[worker], fuzz_http.framed("POST", f"/v1/{signal}", headers, body), tally)

        await _many(number, one, tally)
    for connection in connections:
        connection.close()


async def _asked(connection: fuzz_http.Connection | fuzz_http.OneShot, whole: bytes, tally: Tally) -> None:
    try:
        async with asyncio.timeout(LONGEST_S):
            status, answer = await connection.ask(whole)
    except TimeoutError:
        connection.close()
        tally.add("hangs", f"no answer within {LONGEST_S:g} s", whole)
        return
    tally.seen[str(status)] += 1
    if status >= 500:
        tally.add("faults", f"{status} {answer[-300:]!r}", whole)
    elif not status and isinstance(connection, fuzz_http.Connection) and fuzz_http.is_short(whole):
        tally.add("crashes", "no answer", whole)


async def _called(call: Awaitable[bytes], request: object, tally: Tally) -> None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        tally.seen[error.code().name] += 1
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            tally.add("hangs", f"no answer within {LONGEST_S:g} s", request)
        elif error.code() in _FAULTS:
            tally.add("faults", f"{error.code().name} {error.details()}", request)
    else:
        tally.seen["OK"] += 1


async def _many(number: int, one: Callable[[int], Awaitable[None]], tally: Tally) -> None:
    """So many, `AT_ONCE` under way, each by one worker after the other."""
    left = iter(range(number))

    async def work(worker: int) -> None:
        for _ in left:
            await one(worker)
            tally.tried += 1

    await asyncio.gather(*map(work, range(AT_ONCE)))


def _logs() -> bytes:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    record = resource.scope_logs.add().log_records.add(time_unix_nano=10**18, severity_number=9)
    record.body.string_value = "a line"
    return request.SerializeToString()


def _gather(tally: Tally, one: Tally) -> None:
    tally.tried += one.tried
    tally.crashes += one.crashes
    tally.hangs += one.hangs
    tally.faults += one.faults


def _tell(kind: str, tally: Tally, seconds: float) -> None:
    seen: Iterable[str] = (f"{name} {number}" for name, number in sorted(tally.seen.items()))
    counts = f"{tally.crashes} crashes, {tally.hangs} hangs, {tally.faults} 5xx"
    print(f"{kind}: {tally.tried} tried in {seconds:.0f} s, {counts}; {', '.join(seen)}", flush=True)
    for example in tally.examples:
        print(f"  {example}", flush=True)
