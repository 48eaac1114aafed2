"""`bench MODEL`: a load test of a server, each connection sending its next request when it is answered."""

import asyncio
import json
import math
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from rich.console import Console
from rich.table import Table

from deployments.commands.client import Client
from deployments.commands.infer import request_of
from deployments.errors import CallError, InputError
from deployments.oip.tensors import DTYPES


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the server did."""

    seconds: float
    num_answered: int
    requests_per_s: float
    """Requests answered with 200, per second."""
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    statuses: dict[int, int]
    """How many answers of each HTTP status; 0 stands for a connection that broke."""


Progress = Callable[[float, int], None]
"""Told the seconds gone and the requests answered, four times a second."""


def measured(
    client: Client,
    model: str,
    *,
    connections: int,
    duration_s: float,
    file: Path | None = None,
    batch: int = 1,
    progress: Progress = lambda _seconds, _answered: None,
) -> Measured:
    """Load the server for `duration_s` seconds with the request of `file`, or with `batch` samples of zeros.

    Raises:
        InputError: the file is not what the model takes, or zeros are not.
        CallError: the server does not answer, or refuses the request.
    """
    described = client.get(f"/v2/models/{model}")
    body, headers = zeros(described, batch) if file is None else request_of(file, described)
    path = f"/v2/models/{model}/infer"
    client.ask("POST", path, body, headers)  # a request that is refused needs no load test
    target = urlsplit(client.url)
    lines = [f"POST {path} HTTP/1.1", f"Host: {target.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in {**headers, **client.credentials()}.items()]
    request = "\r\n".join((*lines, "", "")).encode() + body
    port = target.port or (443 if target.scheme == "https" else 80)
    load = _Load(target.hostname or "localhost", port, client.trust(), request)
    return asyncio.run(load.run(connections, duration_s, progress))


def zeros(described: Mapping[str, Any], batch: int) -> tuple[bytes, dict[str, str]]:
    """A JSON request of zeros for every input; a dynamic dimension is `batch` where it comes first, else 1.

    Raises:
        InputError: an input is text, which has no zero.
    """
    inputs: list[dict[str, Any]] = []
    for spec in described["inputs"]:
        if spec["datatype"] == "BYTES":
            raise InputError(f"input {spec['name']!r} takes BYTES: give a --file with a request to repeat")
        sizes = [size if size > 0 else (1 if at else batch) for at, size in enumerate(spec["shape"])]
        zero = np.zeros((), DTYPES[spec["datatype"]]).item()
        inputs.append({"name": spec["name"], "datatype": spec["datatype"], "shape": sizes})
        inputs[-1]["data"] = [zero] * math.prod(sizes)
    return json.dumps({"inputs": inputs}).encode(), {"Content-Type": "application/json"}


def show(console: Console, found: Measured) -> None:
    """The figures as a table."""
    table = Table("requests/s", "p50", "p95", "p99", "answered", "others")
    times = ["" if value is None else f"{value * 1000:.2f} ms" for value in (found.p50_s, found.p95_s, found.p99_s)]
    others = {status: count for status, count in found.statuses.items() if status != 200}
    said = ", ".join(f"{status or 'broken off'}: {count}" for status, count in others.items()) or "none"
    table.add_row(f"{found.requests_per_s:.0f}", *times, str(found.num_answered), said)
    console.print(table)


class _Load:
    def __init__(self, host: str, port: int, trust: ssl.SSLContext | None, request: bytes) -> None:
        self._host, self._port, self._trust, self._request = host, port, trust, request
        self._seconds: list[float] = []
        self._statuses: Counter[int] = Counter()

    async def run(self, connections: int, duration_s: float, progress: Progress) -> Measured:
        began = time.perf_counter()
        busy = [asyncio.create_task(self._connection(began + duration_s)) for _ in range(connections)]
        while (await asyncio.wait(busy, timeout=0.25))[1]:
            progress(time.perf_counter() - began, len(self._seconds))
        for each in busy:
            each.result()
        seconds = time.perf_counter() - began
        quantiles = np.quantile(self._seconds, (0.5, 0.95, 0.99)).tolist() if self._seconds else (None, None, None)
        p50, p95, p99 = quantiles
        return Measured(
            seconds=seconds,
            num_answered=len(self._seconds),
            requests_per_s=len(self._seconds) / seconds,
            p50_s=p50,
            p95_s=p95,
            p99_s=p99,
            statuses=dict(sorted(self._statuses.items())),
        )

    async def _connection(self, end: float) -> None:
        while time.perf_counter() < end:
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._trust)
            except OSError as error:
                raise CallError(f"{self._host}:{self._port} takes no connection: {error}") from error
            try:
                while (sent := time.perf_counter()) < end:
                    writer.write(self._request)
                    status = await _answer(reader)
                    self._statuses[status] += 1
                    if status == 200:
                        self._seconds.append(time.perf_counter() - sent)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                # A server may close an idle connection (RFC 9112, section 9.3.1); one with half an answer is broken.
                if not isinstance(error, asyncio.IncompleteReadError) or error.partial:
                    self._statuses[0] += 1
            finally:
                writer.close()


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read a response to its end; its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if found:
        await reader.readexactly(int(rest[: rest.index(b"\r")]))
    elif b"\r\ntransfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return int(head[9:12])
