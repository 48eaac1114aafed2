"""Clients that ask at a steady pace and never twice: whatever is no whole answer is a failure that a user would see.

An HTTP connection stays open and is opened anew only where the server had closed it before a request went out on it.
gRPC's own retries are off, those too that a library makes by itself where a call never left it.
"""

import asyncio
import itertools
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from deployments.oip import inference_pb2 as oip

TIMEOUT_S = 120.0
"""A request that has no answer after so long has failed."""
SLOW_BYTES = 2**16
"""What the kernel keeps for a client that reads slowly."""
_SERVICE = "/inference.GRPCInferenceService"
_NO_RETRIES = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
_BROKEN = (OSError, asyncio.IncompleteReadError, TimeoutError)


class Client(Protocol):
    """One connection."""

    kind: str

    async def ask(self) -> str | None:
        """Ask once; what went wrong, if anything did."""

    async def close(self) -> None:
        """End the connection."""


@dataclass(kw_only=True)
class Asked:
    """What became of requests."""

    num_requests: int = 0
    failures: list[str] = field(default_factory=list)
    """Each with its kind and when it was, in seconds since the clients began."""
    by_kind: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, at_s: float, problem: str | None) -> None:
        """One more, answered or failed."""
        self.num_requests += 1
        self.by_kind[kind] = self.by_kind.get(kind, 0) + 1
        if problem:
            self.failures.append(f"{kind} after {at_s:.1f} s: {problem}")

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {kind}" for kind, number in self.by_kind.items())
        return "\n  ".join([f"{counts}: {len(self.failures)} failed", *self.failures[:10]])


class HttpCalls:
    """Requests over one connection that stays; `check` says what is wrong with a body, whatever its length."""

    def __init__(
        self,
        port: int,
        path: str,
        body: bytes,
        check: Callable[[bytes], str | None] = lambda _: None,
        kind: str = "HTTP",
        pause_s: float = 0.0,
    ) -> None:
        """`pause_s` is how long it waits after each part of an answer that it has read."""
        self.kind = kind
        self._pause_s = pause_s
        self._port = port
        self._path = path
        self._check = check
        self.say(body)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def say(self, body: bytes) -> None:
        """Ask with this body from now on."""
        head = f"POST {self._path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def ask(self) -> str | None:
        """One request."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._ask()
        except _BROKEN as error:
            await self.close()
            return f"the connection broke: {error!r}"

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def _ask(self) -> str | None:
        if self._streams and self._streams[0].at_eof():
            await self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(sock=await self._connected())
        reader, writer = self._streams
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        parts = []
        async for part in _body(reader, head):
            parts.append(part)
            if self._pause_s:
                await asyncio.sleep(self._pause_s)
        body = b"".join(parts)
        if b"\r\nconnection: close" in head:
            await self.close()
        status = head[9:12].decode()
        return self._check(body) if status == "200" else f"{status} {body[:200].decode(errors='replace')}"

    async def _connected(self) -> socket.socket:
        connection = socket.socket()
        connection.setblocking(False)
        if self._pause_s:  # else the kernel would take what it does not
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BYTES)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
        return connection


class GrpcCalls:
    """Calls over a channel of its own."""

    def __init__(self, port: int, request: oip.ModelInferRequest) -> None:
        self.kind = "gRPC"
        self._port = port
        self._request = request
        self._channel: grpc.aio.Channel | None = None

    async def ask(self) -> str | None:
        """One call."""
        self._channel = self._channel or _channel(self._port)
        call = self._channel.unary_unary(
            f"{_SERVICE}/ModelInfer",
            request_serializer=oip.ModelInferRequest.SerializeToString,
            response_deserializer=oip.ModelInferResponse.FromString,
        )
        try:
            await call(self._request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name} {error.details()}"
        return None

    async def close(self) -> None:
        """Close the channel, if there is one."""
        if self._channel:
            await self._channel.close(None)
            self._channel = None


class GrpcStreams:
    """Streams of so many requests each, one every `every_s` seconds; one that misses an answer was cut."""

    def __init__(self, port: int, request: oip.ModelInferRequest, *, num_requests: int, every_s: float) -> None:
        self.kind = "gRPC stream"
        self._port = port
        self._request = request
        self._num_requests = num_requests
        self._every_s = every_s
        self._channel: grpc.aio.Channel | None = None

    async def ask(self) -> str | None:
        """One stream from its first request to its last answer."""
        self._channel = self._channel or _channel(self._port)
        opened = self._channel.stream_stream(
            f"{_SERVICE}/ModelStreamInfer",
            request_serializer=oip.ModelInferRequest.SerializeToString,
            response_deserializer=oip.ModelStreamInferResponse.FromString,
        )
        answered = 0
        try:
            metadata = (("application", self._request.model_name),)
            async for answer in opened(self._requests(), timeout=TIMEOUT_S, metadata=metadata):
                if answer.error_message:
                    return f"answer {answered + 1} of {self._num_requests} is an error: {answer.error_message}"
                answered += 1
        except grpc.aio.AioRpcError as error:
            return f"cut after {answered} of {self._num_requests} answers: {error.code().name} {error.details()}"
        return None if answered == self._num_requests else f"ended after {answered} of {self._num_requests} answers"

    async def _requests(self) -> AsyncIterator[oip.ModelInferRequest]:
        for _ in range(self._num_requests):
            yield self._request
            await asyncio.sleep(self._every_s)

    async def close(self) -> None:
        """Close the channel, if there is one."""
        if self._channel:
            await self._channel.close(None)
            self._channel = None


def event_streams(port: int, path: str, body: bytes, *, num_events: int, seconds: float) -> HttpCalls:
    """Streams of `num_events` events each, read in so many seconds; one that misses some was cut."""

    def check(received: bytes) -> str | None:
        events = received.count(b"data: ")
        return None if events == num_events and b'"error"' not in received else f"cut after {events} of {num_events}"

    return HttpCalls(port, path, body, check, kind="event stream", pause_s=seconds / num_events)


@contextmanager
def asking(clients: Sequence[Client], per_s: float | Mapping[str, float] | None = None) -> Iterator[Asked]:
    """Ask by all of `clients` until the block ends, together `per_s` times a second, or as often as they can.

    A mapping says so for each kind of client; kinds that it lacks ask as often as they can.
    """
    asked, over = Asked(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_drive(clients, per_s, asked, over)))
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        thread.join()


def peak_per_s(clients: Sequence[Client], seconds: float = 3.0) -> float:
    """How many requests a second they get answered when each asks again at once."""
    with asking(clients):  # warm up
        time.sleep(1)
    with asking(clients) as asked:
        time.sleep(seconds)
    return asked.num_requests / seconds


async def _drive(
    clients: Sequence[Client], per_s: float | Mapping[str, float] | None, asked: Asked, over: threading.Event
) -> None:
    began = time.monotonic()
    kinds = [client.kind for client in clients]

    def every_s(kind: str) -> float:
        if per_s is None:
            return 0.0
        if isinstance(per_s, Mapping):
            return kinds.count(kind) / per_s[kind] if kind in per_s else 0.0
        return len(clients) / per_s

    async def run(client: Client, number: int) -> None:
        pause_s = every_s(client.kind)
        due = time.monotonic() + pause_s * number / len(clients)
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if over.is_set():
                break
            problem = await client.ask()
            asked.add(client.kind, time.monotonic() - began, problem)
            due = max(due + pause_s, time.monotonic())
        await client.close()

    await asyncio.gather(*map(run, clients, itertools.count()))


async def _body(reader: asyncio.StreamReader, head: bytes) -> AsyncIterator[bytes]:
    _, found, rest = head.partition(b"content-length: ")
    if found:
        yield await reader.readexactly(int(rest[: rest.index(b"\r")]))
        return
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()


def _channel(port: int) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_NO_RETRIES)
