"""Malformed HTTP: what is sent, and the connections that it is sent over.

A request whose framing is sound must be answered, whatever it says, and the next one goes over the same connection.
One whose framing is broken, or is a piece of another, has a connection of its own and may be let down.
"""

import asyncio
import gzip
import json
import random
from typing import Any

from benchmarks.surviving import mutations
from benchmarks.surviving.models import WIDTH
from optimization.artifact.store import Artifact

Request = tuple[str, str, dict[str, str], bytes]
"""Method, path, headers, body."""

LONGEST_HEAD = 15_000
"""Bytes of a head that the ingress takes for sure. It refuses a longer one and closes the connection, by which
its answer may be lost."""
PATIENCE_S = 0.2
"""How long what is no request waits for an answer before the client says that nothing more comes."""
_ADDRESSES = [f"127.0.0.{last}" for last in range(2, 250)]
"""To call from: one alone would run out of ports."""
_ORDERS = (b"/load", b"/unload", b"generate")
"""What is not sent, since it may be valid: orders, and streams of thousands of steps."""


class Connection:
    """One that stays, for requests of sound framing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, whole: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; 0 where the connection ended without one.

        A connection that has stayed may be closed by the server at any time: then it is asked over a new one.
        """
        is_fresh = self._streams is None
        answer = await self._ask(whole)
        return answer if answer[0] or is_fresh else await self._ask(whole)

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, whole: bytes) -> tuple[int, bytes]:
        try:
            self._streams = self._streams or await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(whole)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = await _body_of(reader, head)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0, b""
        if b"\r\nconnection: close" in head:
            self.close()
        return int(head.split()[1]), body


class OneShot:
    """One for a single try, of whatever bytes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, whole: bytes) -> tuple[int, bytes]:
        """Status of the first answer and all that came; 0 where none did, as is right for what is no HTTP."""
        address = random.choice(_ADDRESSES)  # which one changes nothing of what is sent
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(address, 0))
        found = b""
        try:
            self._writer.write(whole)
            try:
                found = await asyncio.wait_for(reader.read(2**16), PATIENCE_S)
            except TimeoutError:
                self._writer.write_eof()
                found = await reader.read(2**16)
        except OSError:  # refused before all was sent
            pass
        finally:
            self.close()
        words = found.split(maxsplit=2)
        return (int(words[1]) if len(words) > 1 and words[1].isdigit() else 0), found

    def close(self) -> None:
        """Close it."""
        if self._writer:
            self._writer.close()


def malformed(rng: random.Random, requests: list[Request]) -> tuple[bool, bytes]:
    """One of `requests`, changed; and whether its framing is sound."""
    while True:
        is_sound, (method, path, headers, body) = rng.random() < 0.8, rng.choice(requests)
        if rng.random() < 0.2:
            path = _path(rng, path)
        if rng.random() < 0.3:
            headers = _headers(rng, headers)
        whole = framed(method, path, headers, _body(rng, headers, body))
        if not is_sound:
            whole = mutations.of_bytes(rng, whole, framed(*rng.choice(requests)))
        if not any(order in whole for order in _ORDERS):
            return is_sound, whole


def framed(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """As HTTP/1.1 has it."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if "Host" not in headers:
        lines.append("Host: 127.0.0.1")
    lines += [f"Content-Length: {len(body)}"] if body or method == "POST" else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def is_short(whole: bytes) -> bool:
    """Whether the ingress takes its head."""
    return 0 <= whole.find(b"\r\n\r\n") <= LONGEST_HEAD


def valid(artifact: Artifact) -> list[Request]:
    """Requests that are answered."""
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
        ("GET", f"{model}/ready", {}, b""),
        ("POST", f"{model}/feedback", json_type, b'{"labels": [{"id": "a", "row": 0, "label": 1}]}'),
        ("GET", "/v2/rollouts", {}, b""),
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


async def _body_of(reader: asyncio.StreamReader, head: bytes) -> bytes:
    _, has_length, rest = head.partition(b"\r\ncontent-length: ")
    if has_length:
        return await reader.readexactly(int(rest[: rest.index(b"\r")]))
    if b"\r\ntransfer-encoding: chunked" not in head:
        return await reader.read() if b"\r\nconnection: close" in head else b""
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readline()
    return b"".join(parts)
