"""HTTP requests that try to be answered without a key, as bytes: what `benchmarks.auth` sends."""

import base64
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

OPEN = ("/v2/health/live", "/v2/health/ready", "/-/healthz")
"""Health needs no key; Ray answers its own, the last one, by any method."""
METHODS = (*["GET", "POST"] * 4, "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "post", "GETX")
TARGETS = ("/v2", "/v2/models", "/v2/repository/index", "/telemetry", "/telemetry/api/services", "/-/routes", "/")
HOSTS = (*["localhost"] * 5, "127.0.0.1:8265", "serve", "")


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
            "".join(
                f"%{ord(progress):02x}" if progress != "/" and dice.random() < 0.3 else progress for progress in path
            ),
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
