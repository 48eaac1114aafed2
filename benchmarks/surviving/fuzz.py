"""Malformed requests and files: how many were tried, and how many crashed something, hung, or were answered by 5xx.

Requests go to `serve run serve_config.yaml` as a user starts it, through HAProxy, each over a connection of its own:
HTTP (models, server, page), gRPC, OTLP by both. A crash is a process of the server that has ended, or a request of
sound framing that was not answered. Files are read by the code that reads them (`fuzz_files`). Seeds are fixed, and so
is what is tried.
"""

import argparse
import asyncio
import gzip
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from benchmarks.observing.senders import Replica, spans
from benchmarks.servers import Server, processes, trimtab
from benchmarks.surviving import fuzz_files, mutations
from benchmarks.surviving.models import WIDTH, message, walking
from benchmarks.throughput import Figures
from deployments.oip import inference_pb2 as oip
from optimization.artifact.store import Artifact

NUMBERS = {"http": 80_000, "grpc": 40_000, "otlp": 40_000, "artifacts": 15_000, "recipes": 10_000, "manifests": 25_000}
QUICK = 50
"""Times fewer."""
SEED = 20_261_130
LONGEST_S = 20.0
AT_ONCE = 32
_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
"""As 5xx; what gRPC's own library answers to a message of broken framing is not sent here."""
_ADDRESSES = [f"127.0.0.{last}" for last in range(2, 250)]
"""To call from: one alone would run out of ports."""


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
    numbers = {kind: max(20, number // QUICK) if options.quick else number for kind, number in NUMBERS.items()}
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        artifact = walking(Path(folder))
        with trimtab(artifact) as server:
            before = {process.pid for process, _ in processes(server)}
            for fuzz in (_http, _grpc, _otlp):
                one = Tally()
                asyncio.run(fuzz(server, artifact, numbers, one))
                _tell(fuzz.__name__.strip("_"), one)
                _gather(tally, one)
            gone = before - {process.pid for process, _ in processes(server)}
            tally.crashes += len(gone)
            print(f"{len(gone)} processes of the server have ended", flush=True)
    for kind in fuzz_files.KINDS:
        one = _files(kind, numbers[kind])
        _tell(kind, one)
        _gather(tally, one)
    return {
        "fuzz_tried": tally.tried,
        "fuzz_crashes": tally.crashes,
        "fuzz_hangs": tally.hangs,
        "fuzz_5xx": tally.faults,
    }


def _files(kind: str, number: int) -> Tally:
    command = [sys.executable, "-m", "benchmarks.surviving.fuzz_files", kind, str(SEED), str(number)]
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


async def _http(server: Server, artifact: Artifact, numbers: dict[str, int], tally: Tally) -> None:
    rng = random.Random(SEED)
    requests = _http_requests(artifact)

    async def one() -> None:
        sound, (method, path, headers, body) = rng.random() < 0.8, rng.choice(requests)
        if rng.random() < 0.2:
            path = _path(rng, path)
        if rng.random() < 0.3:
            headers = _headers(rng, headers)
        body = _body(rng, headers, body)
        whole = _framed(method, path, headers, body)
        if not sound:
            whole = mutations.of_bytes(rng, whole, _framed(*rng.choice(requests)))
        if any(word in whole for word in (b"/load", b"/unload", b"generate")):  # a valid order, and long streams
            return
        status = await _asked(server.http_port, whole, tally, must_answer=sound)
        if status >= 500:
            tally.add("faults", str(status), whole)

    await _many(numbers["http"], one, tally)


async def _grpc(server: Server, artifact: Artifact, numbers: dict[str, int], tally: Tally) -> None:
    rng = random.Random(SEED + 1)
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

        async def one() -> None:
            rpc, valid = rng.choice(calls)
            body = mutations.of_bytes(rng, valid, rng.choice(calls)[1])
            metadata = (("application", rng.choice([name, "server", "none", ""])),) if rng.random() < 0.5 else ()
            await _called(ask[rpc](body, metadata=metadata, timeout=LONGEST_S), (rpc, body, metadata), tally)

        await _many(numbers["grpc"], one, tally)


async def _otlp(server: Server, _: Artifact, numbers: dict[str, int], tally: Tally) -> None:
    rng = random.Random(SEED + 2)
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

        async def one() -> None:
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
            whole = _framed("POST", f"/v1/{signal}", headers, body)
            assert server.otlp_http_port is not None
            status = await _asked(server.otlp_http_port, whole, tally, must_answer=True)
            if status >= 500:
                tally.add("faults", str(status), whole)

        await _many(numbers["otlp"], one, tally)


def _http_requests(artifact: Artifact) -> list[tuple[str, str, dict[str, str], bytes]]:
    """Valid ones: method, path, headers, body."""
    model = f"/v2/models/{artifact.manifest.name}"
    tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, WIDTH], "data": [0.5] * WIDTH}
    plain = json.dumps({"id": "a", "inputs": [tensor], "outputs": [{"name": "y"}]}).encode()
    described = {**tensor, "parameters": {"binary_data_size": 4 * WIDTH}}
    del described["data"]
    outputs = [{"name": "y", "parameters": {"binary_data": True, "classification": 3}}]
    start = json.dumps({"inputs": [described], "outputs": outputs}).encode()
    binary = start + b"\0\0\0\x3f" * WIDTH
    json_type = {"Content-Type": "application/json"}
    return [
        ("POST", f"{model}/infer", json_type, plain),
        ("POST", f"{model}/versions/1/infer", json_type, plain),
        ("POST", f"{model}/infer", {**json_type, "Content-Encoding": "gzip"}, gzip.compress(plain)),
        ("POST", f"{model}/infer", {"Inference-Header-Content-Length": str(len(start))}, binary),
        ("GET", model, {}, b""),
        ("GET", f"{model}/config", {}, b""),
        ("GET", f"{model}/stats", {}, b""),
        ("GET", "/v2", {}, b""),
        ("POST", "/v2/repository/index", json_type, b'{"ready": true}'),
        ("GET", "/v2/trace/setting", {}, b""),
        ("GET", "/telemetry/api/overview", {}, b""),
        ("GET", "/telemetry/api/series?service=walking&metric=requests&seconds=60", {}, b""),
        ("GET", "/telemetry/prometheus/api/v1/query?query=rate(http_requests_total%5B1m%5D)&time=1", {}, b""),
        ("GET", "/telemetry/prometheus/api/v1/query_range?query=up&start=0&end=60&step=15", {}, b""),
        ("GET", "/telemetry/api/traces?service=walking", {}, b""),
        ("GET", "/telemetry/api/logs?service=walking", {}, b""),
        ("GET", "/telemetry/api/incidents", {}, b""),
    ]


def _logs() -> bytes:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    record = resource.scope_logs.add().log_records.add(time_unix_nano=10**18, severity_number=9)
    record.body.string_value = "a line"
    return request.SerializeToString()


def _path(rng: random.Random, path: str) -> str:
    changed = mutations.of_bytes(rng, path.encode(), b"/../..//%2e%2e/%ff%00;x?a=%GG&" * 3)
    return changed.decode("latin-1").translate(dict.fromkeys((*range(33), 127), "%20")) or "/"


def _headers(rng: random.Random, headers: dict[str, str]) -> dict[str, str]:
    names = ["Inference-Header-Content-Length", "Content-Encoding", "Content-Type", "Accept-Encoding", "Authorization"]
    names += ["traceparent", "X-Request-Id", "Accept", "Host", "Origin", "trimtab-rollout-key"]
    values = ["", "0", "-1", "9" * 30, "gzip, gzip", "identity", "\xe9", "00-" + "f" * 70, "a" * 4000, "*/*;q=9", "1e3"]
    return {**headers, rng.choice(names): rng.choice(values)}


def _body(rng: random.Random, headers: dict[str, str], body: bytes) -> bytes:
    if not body or rng.random() < 0.1:
        return body
    if body.startswith(b"{") and body.endswith(b"}") and rng.random() < 0.6:
        return json.dumps(mutations.of_values(rng, json.loads(body))).encode()
    if headers.get("Content-Encoding") == "gzip" and body.startswith(b"\x1f\x8b") and rng.random() < 0.5:
        return gzip.compress(mutations.of_bytes(rng, gzip.decompress(body)), 1)
    return mutations.of_bytes(rng, body, body[::-1])


def _framed(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """As HTTP/1.1 has it, on a connection that ends with its answer."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if "Host" not in headers:
        lines.append("Host: 127.0.0.1")
    lines += [f"Content-Length: {len(body)}"] if body or method == "POST" else []
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body


async def _asked(port: int, whole: bytes, tally: Tally, *, must_answer: bool) -> int:
    """The status of the answer; 0 where there was none, as is right for what is no HTTP."""
    try:
        async with asyncio.timeout(LONGEST_S):
            address = random.choice(_ADDRESSES)  # which one changes nothing of what is sent
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            try:
                writer.write(whole)
                writer.write_eof()
                line = await reader.readline()
                while await reader.read(2**16):
                    pass
            except OSError:  # refused before all was sent
                line = b""
            finally:
                writer.close()
    except TimeoutError:
        tally.add("hangs", f"no answer within {LONGEST_S:g} s", whole)
        return 0
    words = line.split()
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    tally.seen[str(status)] += 1
    if not status and must_answer:
        tally.add("crashes", "no answer", whole)
    return status


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


async def _many(number: int, one: Callable[[], Awaitable[None]], tally: Tally) -> None:
    """So many, `AT_ONCE` under way."""
    left = iter(range(number))

    async def work() -> None:
        for _ in left:
            await one()
            tally.tried += 1

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def _gather(tally: Tally, one: Tally) -> None:
    tally.tried += one.tried
    tally.crashes += one.crashes
    tally.hangs += one.hangs
    tally.faults += one.faults


def _tell(kind: str, tally: Tally) -> None:
    seen: Iterable[str] = (f"{name} {number}" for name, number in sorted(tally.seen.items()))
    counts = f"{tally.crashes} crashes, {tally.hangs} hangs, {tally.faults} 5xx"
    print(f"{kind}: {tally.tried} tried, {counts}; {', '.join(seen)}", flush=True)
    for example in tally.examples:
        print(f"  {example}", flush=True)
