"""A load generator: keeps N connections busy with one prepared HTTP request, over plain asyncio streams."""

import asyncio
import time
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a server did under load."""

    requests_per_s: float
    p50_s: float
    p99_s: float
    num_failed: int
    """Responses with another status than 200."""


def drive(*, port: int, path: str, body: bytes, connections: int, duration_s: float) -> Load:
    """Load `127.0.0.1:port` for `duration_s` seconds; each connection sends its next request when answered."""
    return asyncio.run(_drive(port, path, body, connections, duration_s))


async def _drive(port: int, path: str, body: bytes, connections: int, duration_s: float) -> Load:
    request = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    latencies: list[float] = []
    failed: list[bytes] = []
    began = time.perf_counter()
    end = began + duration_s
    await asyncio.gather(*(_connection(port, request, end, latencies, failed) for _ in range(connections)))
    elapsed = time.perf_counter() - began
    p50, p99 = np.quantile(latencies, [0.5, 0.99])
    return Load(requests_per_s=len(latencies) / elapsed, p50_s=float(p50), p99_s=float(p99), num_failed=len(failed))


async def _connection(port: int, request: bytes, end: float, latencies: list[float], failed: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while (sent := time.perf_counter()) < end:
            writer.write(request)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise
                # An ingress that reloads closes idle connections, as HTTP lets it: connect again.
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                continue
            await _body(reader, head.lower())
            latencies.append(time.perf_counter() - sent)
            if not head.startswith(b"HTTP/1.1 200"):
                failed.append(head)
    finally:
        writer.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> None:
    _, found, rest = head.partition(b"content-length: ")
    if found:
        await reader.readexactly(int(rest[: rest.index(b"\r")]))
        return
    while int(size := await reader.readline(), 16):  # chunked
        await reader.readexactly(int(size, 16) + 2)
    await reader.readline()
