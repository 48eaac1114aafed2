"""Back-ends side by side, outages, and the end of it all."""

import asyncio
import itertools
import time
from pathlib import Path

import grpc

from telemetry.forwarding.backend import BackEnd
from telemetry.forwarding.forwarding import Forwarding
from telemetry.journal.journal import Journal
from tests.conftest import free_port
from tests.telemetry.forwarding.backends import GrpcBackEnd
from tests.telemetry.forwarding.bodies import spans_body


def backend(name: str, port: int, **settings: object) -> BackEnd:
    return BackEnd(name=name, endpoint=f"http://127.0.0.1:{port}", **settings)


async def until(is_so, within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.01)


def test_a_dead_back_end_does_not_hold_up_the_others(tmp_path: Path):
    async def run() -> None:
        journal = Journal(tmp_path)
        async with GrpcBackEnd().running() as alive:
            forwarding = Forwarding([backend("dead", free_port()), backend("alive", alive.port)], journal)
            forwarding.start()
            names = [f"span-{index}" for index in range(50)]
            for name in names:
                journal.append("traces", spans_body(name), 0.0)
            await until(lambda: alive.names == names)
            dead, _ = forwarding.forwarders
            assert dead.lag_bytes > 0
            await forwarding.stop()
        journal.close()

    asyncio.run(run())


def test_of_a_back_end_that_answers_unavailable_seven_times_in_ten_everything_arrives(tmp_path: Path):
    refusals = itertools.cycle([True] * 3 + [False] + [True] * 4 + [False] * 2)

    async def run() -> None:
        journal = Journal(tmp_path)
        refuse = lambda: grpc.StatusCode.UNAVAILABLE if next(refusals) else None  # noqa: E731
        async with GrpcBackEnd(refuse).running() as it:
            forwarding = Forwarding([backend("flaky", it.port, batch_bytes=1024)], journal)
            forwarding.start()
            forwarder = forwarding.forwarders[0]
            forwarder._delivery._sleep = lambda _: asyncio.sleep(0.001)
            names = [f"span-{index}" for index in range(200)]
            for name in names:
                journal.append("traces", spans_body(name), 0.0)
            await until(lambda: len(it.names) >= len(names))
            assert it.names == names
            assert forwarder.tally.num_retries >= 10
            await forwarding.stop()
        journal.close()

    asyncio.run(run())


def test_what_came_while_the_back_end_was_away_arrives_when_it_is_back(tmp_path: Path):
    async def run() -> None:
        journal = Journal(tmp_path)
        port = free_port()
        forwarding = Forwarding([backend("away", port)], journal)
        forwarding.start()
        journal.append("traces", spans_body("before"), 0.0)
        await until(lambda: forwarding.forwarders[0].tally.num_retries > 0)
        journal.append("traces", spans_body("during"), 0.0)
        async with GrpcBackEnd(port=port).running() as it:
            await until(lambda: it.names == ["before", "during"])
            await until(lambda: forwarding.forwarders[0].lag_bytes == 0)
            await forwarding.stop()
        journal.close()

    asyncio.run(run())


def test_stopping_takes_no_more_than_five_seconds_and_leaves_the_rest_in_the_journal(tmp_path: Path):
    async def hang(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        hanging.set()
        await asyncio.sleep(60)
        return b""

    hanging = asyncio.Event()

    async def run() -> None:
        journal = Journal(tmp_path)
        it = GrpcBackEnd()
        it.service = lambda details: grpc.unary_unary_rpc_method_handler(hang)
        async with it.running():
            forwarding = Forwarding([backend("slow", it.port), backend("dead", free_port())], journal)
            forwarding.start()
            journal.append("traces", spans_body("a"), 0.0)
            await asyncio.wait_for(hanging.wait(), 30)
            began_s = time.monotonic()
            await forwarding.stop()
            assert time.monotonic() - began_s < 5
        assert all(reader.lag_bytes > 0 for reader in journal.readers.values())
        journal.close()

    asyncio.run(run())
