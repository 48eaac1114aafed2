"""Look-ups over a socket, and who is refused there."""

import asyncio
import struct
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
import uvloop

from deployments.embeddings import wire
from deployments.embeddings.changes import Position
from deployments.embeddings.shard import Found
from deployments.embeddings.table import Table
from deployments.embeddings.view import ShardGoneError, StaleViewError

TABLE = Table(name="items", rows=100, width=3, dtype="float16")
ROWS = np.arange(300, dtype=np.float16).reshape(100, 3)
POSITION = Position(2**62, 7)


def lookup(ids, told=None):
    if 99 in ids:
        raise StaleViewError("moved")
    return Found(values=ROWS[ids], position=POSITION, epoch=5)


@asynccontextmanager
async def listening():
    server, endpoint = await wire.listen("127.0.0.1", TABLE, lookup)
    try:
        yield endpoint
    finally:
        server.close()


def run(work):
    async def main():
        async with asyncio.timeout(20), listening() as endpoint:
            await work(endpoint)

    for loop in (asyncio.new_event_loop, uvloop.new_event_loop):  # an actor of Ray has the latter
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main())


def test_rows_come_back_to_who_asked_for_them_however_many_ask_at_once():
    async def work(endpoint):
        line = await wire.connect(endpoint, TABLE)
        asked = [np.array(ids, np.int64) for ids in ([1, 2], [], [98], list(range(99)))]
        found = await asyncio.gather(*(line.lookup(ids) for ids in asked))
        for ids, each in zip(asked, found, strict=True):
            assert np.array_equal(each.values, ROWS[ids])
            assert each.values.dtype == np.float16
            assert (each.position, each.epoch) == (POSITION, 5)
        line.close()

    run(work)


def test_rows_that_the_shard_does_not_hold_are_told_and_the_connection_goes_on():
    async def work(endpoint):
        line = await wire.connect(endpoint, TABLE)
        with pytest.raises(StaleViewError):
            await line.lookup(np.array([99]))
        assert (await line.lookup(np.array([3]))).values[0, 0] == 9
        line.close()

    run(work)


def test_a_connection_that_is_lost_is_told_to_those_who_wait_and_to_those_who_come():
    async def work(endpoint):
        line = await wire.connect(endpoint, TABLE)
        waiting = asyncio.ensure_future(line.lookup(np.array([1])))
        await asyncio.sleep(0)
        line.close()
        with pytest.raises(ShardGoneError):
            await waiting
        with pytest.raises(ShardGoneError):
            await line.lookup(np.array([1]))

    run(work)


def test_neither_side_takes_the_other_without_the_key():
    async def work(endpoint):
        with pytest.raises(OSError, match="knows the key"):
            await wire.connect(replace(endpoint, key=bytes(32)), TABLE)

        async def pretend(_, writer):
            writer.write(bytes(32) + bytes(32))

        impostor = await asyncio.start_server(pretend, "127.0.0.1", 0)
        port = impostor.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match="knows the key"):
            await wire.connect(replace(endpoint, port=port), TABLE)
        impostor.close()

    run(work)


@pytest.mark.parametrize("sent", [b"\x00" * 64, b"\xff" * 10_000, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 9])
def test_a_stranger_is_given_a_nonce_and_nothing_else(sent):
    async def work(endpoint):
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(sent)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(33)
        writer.close()

    run(work)


def test_a_stranger_who_says_nothing_is_let_go(monkeypatch):
    monkeypatch.setattr(wire, "PROOF_S", 0.05)

    async def work(endpoint):
        reader, _ = await asyncio.open_connection(endpoint.host, endpoint.port)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(33)

    run(work)


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack("<I", 2**32 - 1),
        struct.pack("<I", 4) + b"abcd",
        struct.pack("<IQ", 9, 1) + b"x",
        struct.pack("<IQq", 16, 1, -1),
        struct.pack("<IQq", 16, 1, 100),
    ],
    ids=["too long", "too short", "half an id", "below 0", "no such row"],
)
def test_a_frame_that_is_none_ends_the_connection(frame):
    async def work(endpoint):
        line = await wire.connect(endpoint, TABLE)
        waiting = asyncio.ensure_future(line.lookup(np.array([98])))
        line.transport.write(frame)
        with pytest.raises(ShardGoneError):
            await waiting
            await line.lookup(np.array([1]))
        other = await wire.connect(endpoint, TABLE)
        assert (await other.lookup(np.array([1]))).values[0, 0] == 3
        other.close()

    run(work)
