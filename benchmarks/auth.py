"""Requests answered without a valid key, over a fuzzed set: `python -m benchmarks.auth`. It must be none.

Paths in many spellings, methods, headers that try to pass for others, keys that nearly fit, several requests in one,
HTTP that is none; at the ingress and at every port behind it. Each request is written to a socket byte by byte, so that
no client library tidies it up; gRPC calls are real ones. The last line is JSON.
"""

import argparse
import json
import random
import re
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, product
from pathlib import Path

import grpc
import httpx
import psutil

from benchmarks.attempts import OPEN, TARGETS, Attempt, attempts, near_misses
from benchmarks.models import mlp
from benchmarks.servers import Server, infer_path, processes, request_body, trimtab
from deployments.access import guard, keys
from deployments.access.keys import Key
from deployments.oip.grpc_service import SERVICE
from deployments.oip.protocol_grpc import REQUESTS
from optimization.artifact.store import Artifact

OPEN_CALLS = ("ServerLive", "ServerReady")
TIMEOUT_S = 1.0
NUM_WORKERS = 16
INSIDES = (b"Traceback", b'File "', b"site-packages", b".py:")
"""What no client should ever read."""


@dataclass(frozen=True, kw_only=True)
class Fuzzed:
    """What came of all attempts."""

    num_requests: int
    answered: tuple[Attempt, ...]
    """Those that were answered and must not have been."""
    calls_answered: tuple[str, ...] = ()
    """The same of gRPC calls, in words."""
    num_with_insides: int
    """Responses that tell of our own files or lines."""
    statuses: Counter[int]
    places_of_keys: tuple[str, ...] = ()
    """Where a key was to be read: logs, command lines, the page."""


def main() -> None:
    """Serve a small model with keys, attack it, print what was answered."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.auth", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps(figures(options.requests, options.seed)))


def figures(num_requests: int = 20_000, seed: int = 0) -> dict[str, float]:
    """Attack a server of a small model and print what was answered."""
    with tempfile.TemporaryDirectory() as folder:
        found = auth_bypass(mlp(Path(folder) / "artifacts"), Path(folder), num_requests, seed)
    for attempt in found.answered[:20]:
        print(attempt.port, attempt.data[:400])
    for call in found.calls_answered[:20]:
        print(call)
    statuses = dict(sorted(found.statuses.items()))
    print(f"{found.num_requests} requests; HTTP responses by status: {statuses} (0: no response)")
    bypassed = len(found.answered) + len(found.calls_answered)
    for place in found.places_of_keys:
        print(f"a key stands in {place}")
    insides = {"auth_insides": found.num_with_insides, "auth_keys_seen": len(found.places_of_keys)}
    return {"auth_bypass": bypassed, **insides}


def auth_bypass(artifact: Artifact, folder: Path, num_requests: int, seed: int = 0) -> Fuzzed:
    """Attack a server of `artifact`; `folder` takes its keys."""
    file = folder / "keys.yaml"
    good, expired = _made(file, "good", admin=True), _made(file, "expired", expires=keys.now())
    other, revoked = _made(file, "other", models=("another-model",)), _made(file, "revoked")
    keys.revoke(file, "revoked")
    with trimtab(artifact, environment={guard.ACCESS: str(file)}, key=good) as server:
        path, body = infer_path(artifact), request_body(artifact)
        ports = [server.http_port, *_ports_behind(server)]
        _require_answer(server, path, body, good)
        near = tuple(near_misses(good, keys.load(file).keys[0].sha256))
        model = path.rpartition("/")[0]
        targets = (*[path] * 3, model, f"{model}/versions/1/infer", *TARGETS, *OPEN)
        dice = random.Random(seed)
        found = run(
            chain(
                attempts(ports, targets, body, (*near, expired, revoked), dice, num_requests),
                # A valid key, but not this model's.
                attempts(ports, (path, model), body, (other,), dice, num_requests // 20),
            )
        )
        _require_answer(server, path, body, good)
        seen = places_of(server, (good, other, revoked, expired), good)
        calls = {
            port: grpc_answered(port, artifact, (*near[: num_requests // 200], expired, revoked))
            for port in _grpc_ports(server)
        }
    return replace(
        found,
        num_requests=found.num_requests + sum(total for total, _ in calls.values()),
        places_of_keys=seen,
        calls_answered=tuple(f"port {port}: {call}" for port, (_, answered) in calls.items() for call in answered),
    )


def places_of(server: Server, secrets: Sequence[str], key: str) -> tuple[str, ...]:
    """Where one of `secrets` is to be read: command lines, the logs of server and Ray, the page asked with `key`."""
    commands = {f"ps {process.pid}": command for process, command in processes(server)}
    folders = {found for command in commands.values() for found in re.findall(r"--logs?[-_]dir=(\S+)", command)}
    files = [server.log, *(file for folder in folders for file in Path(folder).rglob("*") if file.is_file())]
    texts = commands | {str(file): file.read_text(errors="replace") for file in files}
    for path in ("overview", "services", "alerts", "logs", "traces"):
        headers = {"X-API-Key": key}
        texts[f"page {path}"] = httpx.get(f"{server.url}/telemetry/api/{path}", headers=headers).text
    if not folders or not all(texts[f"page {path}"] for path in ("overview", "services")):
        raise RuntimeError("there must be logs of Ray and answers of the page to look through, got none")
    return tuple(place for place, text in texts.items() if any(secret in text for secret in secrets))


def grpc_answered(port: int, artifact: Artifact, texts: Sequence[str]) -> tuple[int, list[str]]:
    """How many gRPC calls were made at `port`, and those of them that were answered and must not have been."""
    name = artifact.manifest.name
    answered: list[str] = []
    total = 0
    offered = ["", *(text for text in texts if text.isascii() and text.isprintable())]  # no others are metadata
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for rpc, request in REQUESTS.items():
            call = channel.unary_unary(f"/{SERVICE}/{rpc}", None, None)
            named = {field.name for field in request.DESCRIPTOR.fields}
            for text, application in product(offered, (name, "server", "")):
                fields = {"name": name, "model_name": name}
                message = request(**{field: value for field, value in fields.items() if field in named})
                metadata = (("x-api-key", text), ("authorization", f"Bearer {text}"), ("application", application))
                total += 1
                try:
                    call(message.SerializeToString(), metadata=metadata, timeout=TIMEOUT_S)
                except grpc.RpcError:
                    continue
                if rpc not in OPEN_CALLS:
                    answered.append(f"{rpc} {metadata}")
    return total, answered


def run(chosen: Iterator[Attempt]) -> Fuzzed:
    """Send every attempt and judge the answers."""
    answered: list[Attempt] = []
    statuses: Counter[int] = Counter()
    num_requests = num_with_insides = 0
    with ThreadPoolExecutor(NUM_WORKERS) as workers:
        for attempt, answer in workers.map(lambda each: (each, send(each)), chosen):
            found = [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]
            num_requests += 1
            statuses.update(found or [0])
            num_with_insides += any(mark in answer for mark in INSIDES)
            if any(code < 400 and code != 100 for code in found) and not attempt.may_be_answered:
                answered.append(attempt)
    return Fuzzed(
        num_requests=num_requests, answered=tuple(answered), num_with_insides=num_with_insides, statuses=statuses
    )


def send(attempt: Attempt) -> bytes:
    """All that comes back."""
    chunks: list[bytes] = []
    try:
        with socket.create_connection(("127.0.0.1", attempt.port), timeout=TIMEOUT_S) as connection:
            connection.sendall(attempt.data)
            end = time.monotonic() + TIMEOUT_S
            while time.monotonic() < end and (chunk := connection.recv(65536)):
                chunks.append(chunk)
    except OSError:  # refused or cut off: no answer, which is as good as a refusal
        pass
    return b"".join(chunks)


def _ports_behind(server: Server) -> list[int]:
    """Where replicas and Ray's own proxy listen for HTTP."""
    return sorted(port for port in _open_behind(server) if 30000 <= port < 31000 or port == 8500)


def _grpc_ports(server: Server) -> list[int]:
    """The ingress, and where replicas and Ray's own proxy listen for gRPC."""
    assert server.grpc_port is not None
    return [server.grpc_port, *sorted(port for port in _open_behind(server) if 40000 <= port < 41000 or port == 9500)]


def _open_behind(server: Server) -> set[int]:
    names = ("ray::ServeReplica", "ray::ProxyActor")
    behind = [process for process, command in processes(server) if command.startswith(names)]
    return {port for process in behind for port in _listening(process)}


def _listening(process: psutil.Process) -> list[int]:
    return [each.laddr.port for each in process.net_connections() if each.status == psutil.CONN_LISTEN]


def _made(file: Path, id_: str, **changes: object) -> str:
    text = keys.new_key(id_)
    keys.add(file, Key.model_validate({"id": id_, "sha256": keys.hash_of(text), **changes}))
    return text


def _require_answer(server: Server, path: str, body: bytes, key: str) -> None:
    """A server that answers nobody would pass too: the valid key must be answered."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nContent-Length: {len(body)}\r\n"
    data = f"{head}Connection: close\r\n\r\n".encode() + body
    answer = send(Attempt(port=server.http_port, method="POST", path=path, data=data))
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the valid key must be answered, got {answer[:500]!r}")


if __name__ == "__main__":
    main()
