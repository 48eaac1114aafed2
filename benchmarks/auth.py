"""Requests answered without a valid key, over a fuzzed set: `python -m benchmarks.auth`. It must be none.

Paths in many spellings, methods, headers that try to pass for others, keys that nearly fit, several requests in one,
HTTP that is none; at the ingress and at every port behind it. Each request is written to a socket byte by byte, so that
no client library tidies it up. The last line is JSON.
"""

import argparse
import base64
import json
import random
import re
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

import psutil

from benchmarks.models import mlp
from benchmarks.servers import Server, infer_path, request_body, trimtab
from deployments import access, keys
from deployments.keys import Key
from optimization.artifact import Artifact

OPEN = ("/v2/health/live", "/v2/health/ready", "/-/healthz")
"""Health needs no key; Ray answers its own, the last one, by any method."""
METHODS = (*["GET", "POST"] * 4, "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "post", "GETX")
TARGETS = ("/v2", "/v2/models", "/v2/repository/index", "/telemetry", "/telemetry/api/services", "/-/routes", "/")
HOSTS = (*["localhost"] * 5, "127.0.0.1:8265", "serve", "")
TIMEOUT_S = 1.0
NUM_WORKERS = 16
INSIDES = (b"Traceback", b'File "', b"site-packages", b".py:")
"""What no client should ever read."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One thing to send, and what it is in words."""

    port: int
    method: str
    path: str
    data: bytes

    @property
    def may_be_answered(self) -> bool:
        """Whether it asks for health."""
        path = unquote(re.sub(r"^http://[^/]*|[?#].*", "", self.path))
        return path.lower() == OPEN[-1] or (self.method in ("GET", "HEAD") and path in OPEN)


@dataclass(frozen=True, kw_only=True)
class Fuzzed:
    """What came of all attempts."""

    num_requests: int
    answered: tuple[Attempt, ...]
    """Those that were answered and must not have been."""
    num_with_insides: int
    """Responses that tell of our own files or lines."""
    statuses: Counter[int]


def main() -> None:
    """Serve a small model with keys, attack it, print what was answered."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.auth", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = auth_bypass(mlp(Path(folder) / "artifacts"), Path(folder), options.requests, options.seed)
    for attempt in found.answered[:20]:
        print(attempt.port, attempt.data[:400])
    print(f"{found.num_requests} requests, by status: {dict(sorted(found.statuses.items()))} (0: no response)")
    print(json.dumps({"auth_bypass": len(found.answered), "auth_insides": found.num_with_insides}))


def auth_bypass(artifact: Artifact, folder: Path, num_requests: int, seed: int = 0) -> Fuzzed:
    """Attack a server of `artifact`; `folder` takes its keys."""
    file = folder / "keys.yaml"
    good, expired = _made(file, "good", admin=True), _made(file, "expired", expires=keys.now())
    other, revoked = _made(file, "other", models=("another-model",)), _made(file, "revoked")
    keys.revoke(file, "revoked")
    with trimtab(artifact, environment={access.ACCESS: str(file)}, key=good) as server:
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
    return found


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


def attempts(
    ports: Sequence[int], targets: Sequence[str], body: bytes, texts: Sequence[str], dice: random.Random, count: int
) -> Iterator[Attempt]:
    """`count` requests, none with a key that opens what it asks for."""
    for _ in range(count):
        port, method = dice.choice(ports), dice.choice(METHODS)
        path = spelled(dice.choice(targets), dice)
        head = [f"Host: {dice.choice(HOSTS)}", "Connection: close"]
        head += [line for line in (credential(dice.choice(texts), dice), trick(targets[0], dice)) if line]
        version = dice.choice(("1.1", "1.1", "1.1", "1.0"))
        content = body if method.upper() in ("POST", "PUT", "PATCH") else b""
        yield Attempt(port=port, method=method, path=path, data=written(method, path, version, head, content, dice))


def spelled(path: str, dice: random.Random) -> str:
    """`path` as a router or a filter might misread it."""
    parts = path.split("/")
    at = dice.randrange(len(parts))
    changed = "/".join((*parts[:at], parts[at].upper(), *parts[at + 1 :]))
    return dice.choice(
        (
            *[path] * 12,
            changed,
            path + "/",
            path.replace("/", "//"),
            f"/.{path}",
            f"/v2/health/live/../../..{path}",
            f"/v2/health/ready/%2e%2e/%2e%2e/%2e%2e{path}",
            f"/v2/health/live/..%2f..%2f..{path}",
            f"/-/healthz/../..{path}",
            f"/v2/health/live%00{path}",
            f"/v2/health/live;{path}",
            f"/v2/health/live?{path}",
            f"{path}?/v2/health/live",
            f"{path}#/v2/health/live",
            f"{path}%00",
            f"{path};/health/live",
            f"{path}/health/live",
            f"{path}%2fhealth%2flive",
            f"http://localhost{path}",
            f"http://localhost:8265/v2/health/live{path}",
            "".join(f"%{ord(letter):02x}" if letter != "/" and dice.random() < 0.3 else letter for letter in path),
            path.replace("/", "%2f", dice.randrange(1, 4)),
            path.replace("/", "\\"),
            path.replace("i", "\u0131").encode().decode("latin-1"),
            path.replace("/", "/%c0%af"),
        )
    )


def credential(text: str, dice: random.Random) -> str:
    """A header that offers `text`, or none."""
    basic = base64.b64encode(f"user:{text}".encode("latin-1", "replace")).decode()
    return dice.choice(
        (
            "",
            f"Authorization: Bearer {text}",
            f"Authorization: bearer  {text}",
            f"Authorization: {text}",
            f"Authorization: Basic {basic}",
            f"Authorization: Token {text}",
            f"X-API-Key: {text}",
            f"x-api-key:{text}",
            f"X_API_KEY: {text}",
            f"Cookie: key={text}; authorization=Bearer {text}",
            f"X-API-Key: {text}\r\nAuthorization: Bearer {text}",
            f"Authorization: Bearer\r\n {text}",
            f"Authorization : Bearer {text}",
            f"Proxy-Authorization: Bearer {text}",
            f"Grpc-Metadata-X-Api-Key: {text}",
        )
    )


def trick(path: str, dice: random.Random) -> str:
    """A header that something between client and model might trust."""
    return dice.choice(
        (
            "",
            "",
            "X-Forwarded-For: 127.0.0.1",
            "X-Real-IP: 127.0.0.1",
            "Forwarded: for=127.0.0.1;proto=https",
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: localhost",
            f"X-Original-URL: {path}",
            f"X-Rewrite-URL: {path}",
            "X-HTTP-Method-Override: POST",
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            "x-request-timeout-seconds: nan",
            "serve_multiplexed_model_id: x",
            "x-request-disconnect-disabled: ?1",
            "Expect: 100-continue",
            "Content-Type: application/grpc\r\nTE: trailers",
            "Inference-Header-Content-Length: 0",
            "X-Admin: true\r\nX-Trimtab-Key: good",
            f"X-Long: {'a' * 5000}",
            "X-Bytes: \xff\xfe",
        )
    )


def written(method: str, path: str, version: str, head: Sequence[str], body: bytes, dice: random.Random) -> bytes:
    """The request's bytes; now and then another one is hidden in them."""
    lines = [f"{method} {path} HTTP/{version}", *head]
    hidden = b"GET /v2/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    match dice.randrange(24):
        case 0:  # two lengths
            tail, body = f"Content-Length: {len(body)}\r\nContent-Length: {len(body) + len(hidden)}", body + hidden
        case 1:  # a length and chunks: RFC 9112, section 6.3
            tail = f"Content-Length: {len(body) + len(hidden)}\r\nTransfer-Encoding: chunked"
            body = b"0\r\n\r\n" + hidden
        case 2:  # chunks under a name that is nearly right
            tail, body = "Transfer-Encoding: xchunked\r\nContent-Length: 4", b"0\r\n\r\n" + hidden
        case 3:  # one request behind the other
            tail, body = f"Content-Length: {len(body)}", body + hidden
        case _:
            tail = f"Content-Length: {len(body)}"
    return "\r\n".join((*lines, tail, "", "")).encode("latin-1", "replace") + body


def near_misses(good: str, sha256: str) -> Iterator[str]:
    """Texts that are almost a key."""
    prefix, id_, secret = good.split(".")
    for at in range(0, len(good), 3):
        yield good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
    yield from ("", good[:-1], good + "A", good.swapcase(), good[::-1], secret, f"{prefix}.{id_}.", f"{prefix}.{id_}")
    yield from (sha256, f"{prefix}.{id_}.{sha256}", f"{prefix}.root.{secret}", f"{prefix}..{secret}", f"{id_}.{secret}")
    yield from (f"{prefix}.{id_}.*", "*", "null", "undefined", "true", "' OR 1=1 --", f"{good}\x00", f"{good},{good}")
    yield from (f"{prefix}.{id_}.{secret[:-1]}\xff", f'"{good}"', base64.b64encode(good.encode()).decode(), "A" * 4096)


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
    behind = [
        each
        for each in psutil.Process(server.process.pid).children(recursive=True)
        if " ".join(each.cmdline()).startswith(("ray::ServeReplica", "ray::ProxyActor"))
    ]
    listening = {port for each in behind for port in _listening(each)}
    return sorted(port for port in listening if 30000 <= port < 31000 or port == 8500)


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
