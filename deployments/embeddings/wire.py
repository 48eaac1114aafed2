"""Look-ups over a socket, for shards of other nodes: a call of Ray costs milliseconds.

    shard                                              reader
    nonce                                         ->
                                                  <-   nonce, proof that it knows the key
    proof that it knows the key                   ->
                                                  <-   | length | number, trace | ids ... |      several under way
    | length | number | status, life, position, epoch | rows ... |      ->

The key is drawn by the shard and told by a call of Ray, so that who may call has it, and no others. It proves who is
there when the connection opens; what is sent afterwards can be read by those who can read the network, as Ray's calls.
Before that proof a peer is given 32 bytes, a few seconds and nothing else.
"""

import asyncio
import hmac
import logging
import secrets
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from deployments.embeddings.changes import Position
from deployments.embeddings.owners import Ids
from deployments.embeddings.shard import Found
from deployments.embeddings.table import DTYPES, Table
from deployments.embeddings.view import ShardGoneError, StaleViewError
from telemetry.emitting.trace import Passed

logger = logging.getLogger(__name__)

MAX_IDS = 65_536
"""Of one request; more go by a call of Ray."""
MAX_CONNECTIONS = 1024
PROOF_S = 5.0
"""Seconds that a peer has to prove that it knows the key."""
SILENT_MS = 5000
"""After so long without a sign of the other host, the connection is lost."""

_NONCE = 32
_LENGTH = struct.Struct("<I")
_REQUEST = struct.Struct("<Q56s")
"""Its number, and the `traceparent` that it is asked under, if it has one; 64 bytes, so that ids are aligned."""
_ANSWER = struct.Struct("<QBQQQ")
_OK, _STALE = 0, 1
_READER, _SHARD = b"reader", b"shard"

Lookup = Callable[[Ids, Passed | None], Found]
"""What answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where a shard listens."""

    host: str
    port: int
    key: bytes = field(repr=False)


async def listen(host: str, table: Table, lookup: Lookup) -> tuple[asyncio.Server, Endpoint]:
    """Answer look-ups at `host` until the server is closed.

    Raises:
        OSError: it cannot listen there.
    """
    key = secrets.token_bytes(_NONCE)
    open_now: set[_Answering] = set()
    server = await asyncio.get_running_loop().create_server(lambda: _Answering(key, table, lookup, open_now), host, 0)
    return server, Endpoint(host=host, port=server.sockets[0].getsockname()[1], key=key)


async def connect(endpoint: Endpoint, table: Table) -> "Line":
    """A connection to the shard, both sides of which have shown that they know the key.

    Raises:
        OSError: it does not listen, or another does.
    """
    loop = asyncio.get_running_loop()
    line = None
    try:
        async with asyncio.timeout(PROOF_S):
            _, line = await loop.create_connection(lambda: Line(endpoint.key, table), endpoint.host, endpoint.port)
            await line.proven
    except BaseException as error:
        if line is not None:
            line.close()
        if isinstance(error, TimeoutError):
            raise OSError(f"{endpoint.host}:{endpoint.port} does not answer") from error
        raise
    return line


class _Frames(asyncio.Protocol):
    """Cuts what comes into the pieces that were sent: first those of fixed size, then those that say their length."""

    def __init__(self, *fixed: int, max_bytes: int) -> None:
        self._fixed = list(fixed)
        self._max_bytes = max_bytes
        self._come = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own, in an actor of Ray
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_USER_TIMEOUT", SILENT_MS), ("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1)):
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def data_received(self, data: bytes) -> None:
        self._come += data
        while not self.transport.is_closing():
            begin = 0 if self._fixed else _LENGTH.size
            if len(self._come) < begin:
                return
            size = self._fixed[0] if self._fixed else _LENGTH.unpack_from(self._come)[0]
            if size > self._max_bytes:
                self.transport.abort()
                return
            if len(self._come) < begin + size:
                return
            piece = bytes(self._come[begin : begin + size])
            del self._come[: begin + size]
            if self._fixed:
                del self._fixed[0]
            self.piece_received(piece)

    def piece_received(self, piece: bytes) -> None:
        raise NotImplementedError  # each side has its own


class _Answering(_Frames):
    """A shard's side of one connection."""

    def __init__(self, key: bytes, table: Table, lookup: Lookup, open_now: "set[_Answering]") -> None:
        super().__init__(_NONCE + _NONCE, max_bytes=_REQUEST.size + 8 * MAX_IDS)
        self._key = key
        self._table = table
        self._lookup = lookup
        self._open_now = open_now
        self._nonce = secrets.token_bytes(_NONCE)
        self._is_proven = False
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._open_now) >= MAX_CONNECTIONS:
            self.transport.abort()
            return
        self._open_now.add(self)
        self._limit = asyncio.get_running_loop().call_later(PROOF_S, self.transport.abort)
        self.transport.write(self._nonce)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._open_now.discard(self)
        if self._limit is not None:
            self._limit.cancel()

    def pause_writing(self) -> None:
        """A reader that takes no answers is asked for no more requests."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def piece_received(self, piece: bytes) -> None:
        if self._is_proven:
            self._answer(piece)
            return
        nonce, proof = piece[:_NONCE], piece[_NONCE:]
        if not hmac.compare_digest(proof, _proof(self._key, _READER, self._nonce, nonce)):
            self.transport.abort()
            return
        self._is_proven = True
        if self._limit is not None:
            self._limit.cancel()
        self.transport.write(_proof(self._key, _SHARD, self._nonce, nonce))

    def _answer(self, piece: bytes) -> None:
        if len(piece) < _REQUEST.size or (len(piece) - _REQUEST.size) % 8:
            self.transport.abort()
            return
        number, traceparent = _REQUEST.unpack_from(piece)
        told = Passed(traceparent.rstrip(b"\0").decode("latin-1")) if traceparent[0] else None
        ids = np.frombuffer(piece, "<i8", offset=_REQUEST.size)
        if ((ids < 0) | (ids >= self._table.rows)).any():
            self.transport.abort()
            return
        try:
            found = self._lookup(ids, told)
        except StaleViewError:
            self._write(_ANSWER.pack(number, _STALE, 0, 0, 0))
            return
        except Exception:
            logger.exception("table %r: a look-up failed", self._table.name)
            self.transport.abort()
            return
        position = found.position
        head = _ANSWER.pack(number, _OK, position.life, position.number, found.epoch)
        self._write(head, found.values.tobytes())

    def _write(self, head: bytes, rows: bytes = b"") -> None:
        self.transport.writelines([_LENGTH.pack(len(head) + len(rows)), head, rows])


class Line(_Frames):
    """A reader's side of one connection."""

    def __init__(self, key: bytes, table: Table) -> None:
        width = table.width * DTYPES[table.dtype].itemsize
        super().__init__(_NONCE, _NONCE, max_bytes=_ANSWER.size + MAX_IDS * width)
        self.proven: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._key = key
        self._table = table
        self._nonces: list[bytes] = []
        self._waiting: dict[int, asyncio.Future[Found]] = {}
        self._number = 0

    @property
    def is_open(self) -> bool:
        """Whether it may be asked."""
        return not self.transport.is_closing()

    async def lookup(self, ids: Ids, told: Passed | None = None) -> Found:
        """What the shard has, for at most `MAX_IDS` ids, asked for under the span that it is `told` of.

        Raises:
            StaleViewError: it does not hold them all.
            ShardGoneError: the connection was lost.
        """
        if not self.is_open:
            raise ShardGoneError("the connection was lost")
        self._number += 1
        number, answer = self._number, asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        raw = ids.astype("<i8", copy=False).tobytes()
        traceparent = told.traceparent.encode() if told else b""
        self.transport.writelines([_LENGTH.pack(_REQUEST.size + len(raw)), _REQUEST.pack(number, traceparent), raw])
        try:
            found: Found = await answer
        finally:
            self._waiting.pop(number, None)
        return found

    def close(self) -> None:
        """Ask no more."""
        self.transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        """What waits for an answer is told."""
        if not self.proven.done():
            self.proven.set_exception(OSError("who listens there did not show that it knows the key"))
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ShardGoneError("the connection was lost"))
        self._waiting.clear()

    def piece_received(self, piece: bytes) -> None:
        """Show that it knows the key, see that the shard does, and take answers."""
        if self.proven.done():
            self._take(piece)
        elif not self._nonces:
            self._nonces = [piece, secrets.token_bytes(_NONCE)]
            self.transport.write(self._nonces[1] + _proof(self._key, _READER, *self._nonces))
        elif hmac.compare_digest(piece, _proof(self._key, _SHARD, *self._nonces)):
            self.proven.set_result(None)
        else:
            self.transport.abort()

    def _take(self, piece: bytes) -> None:
        if len(piece) < _ANSWER.size:
            self.transport.abort()
            return
        number, status, life, at, epoch = _ANSWER.unpack_from(piece)
        answer = self._waiting.get(number)
        if answer is None or answer.done():  # who asked has gone
            return
        if status != _OK:
            answer.set_exception(StaleViewError("the shard does not hold all of these rows"))
            return
        values = np.frombuffer(piece, DTYPES[self._table.dtype], offset=_ANSWER.size).reshape(-1, self._table.width)
        answer.set_result(Found(values=values, position=Position(life, at), epoch=epoch))


def _proof(key: bytes, who: bytes, shard: bytes, reader: bytes) -> bytes:
    """Who is not told the key cannot make it, nor use one that it saw elsewhere."""
    return hmac.digest(key, who + shard + reader, "sha256")
