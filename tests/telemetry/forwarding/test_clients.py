"""The clients against servers that run: the protocol as it is on the wire, and servers that misbehave."""

import asyncio
import gzip
import resource
import time

import grpc
import pytest

from telemetry.forwarding.answers import Answer
from telemetry.forwarding.backend import BackEnd
from telemetry.forwarding.forwarding import client_of
from telemetry.forwarding.http_client import MAX_ANSWER_BYTES
from tests.conftest import free_port
from tests.telemetry.forwarding.backends import GrpcBackEnd, speaking
from tests.telemetry.forwarding.bodies import metrics_body, names_in, spans_body
from tests.telemetry.running import running


def backend(port: int, protocol: str, **settings: object) -> BackEnd:
    return BackEnd(name="it", endpoint=f"http://127.0.0.1:{port}", protocol=protocol, **settings)


async def sent(config: BackEnd, signal: str = "traces", body: bytes = spans_body("a")) -> Answer:
    client = client_of(config)
    try:
        return await client.send(signal, body)
    finally:
        await client.close()


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_our_own_receiver_takes_what_either_client_sends(protocol, compression):
    with running() as it:
        port = it.collector.grpc_port if protocol == "grpc" else it.collector.http_port
        config = backend(port, protocol, compression=compression)
        assert asyncio.run(sent(config)) == Answer(outcome="delivered")
        refused = asyncio.run(sent(config, "metrics", metrics_body("a", "b", time_ns=0)))
        assert (refused.outcome, refused.num_refused) == ("delivered", 2)
        assert asyncio.run(sent(config, "logs", b"")).outcome == "delivered"
        bad = asyncio.run(sent(config, "logs", b"\xff\xff"))
        assert (bad.outcome, bad.by_content) == ("refused", True)
        assert [span.name for span in it.collector.spans.latest("unknown_service")] == ["a"]


def test_headers_and_compression_are_on_the_wire():
    async def of_grpc() -> GrpcBackEnd:
        async with GrpcBackEnd().running() as it:
            await sent(backend(it.port, "grpc", headers={"X-Scope-OrgID": "us"}))
            return it

    assert asyncio.run(of_grpc()).metadata["x-scope-orgid"] == "us"
    heard: list[tuple[bytes, bytes]] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        heard.append((head.lower(), await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async def of_http() -> None:
        async with speaking(speak) as port:
            await sent(backend(port, "http/protobuf", headers={"X-Scope-OrgID": "us"}))

    asyncio.run(of_http())
    head, body = heard[0]
    assert head.startswith(b"post /v1/traces ")
    assert b"x-scope-orgid: us" in head
    assert b"content-type: application/x-protobuf" in head
    assert names_in("traces", gzip.decompress(body)) == ["a"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_back_end_that_is_not_there_is_tried_again(protocol):
    assert asyncio.run(sent(backend(free_port(), protocol))).outcome == "retry"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_back_end_that_takes_the_connection_and_says_nothing_is_tried_again_after_the_timeout(protocol):
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def send() -> Answer:
        async with speaking(speak) as port:
            return await sent(backend(port, protocol, timeout_s=0.3))

    assert asyncio.run(send()).outcome == "retry"


HOSTILE = {
    "an endless body": (b"HTTP/1.1 503 no\r\n\r\n", b"x" * 65536, "retry"),
    "an endless body of a success": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536, "delivered"),
    "endless headers": (b"HTTP/1.1 200 OK\r\n", b"a: " + b"x" * 65536 + b"\r\n", "retry"),
    "one endless header": (b"HTTP/1.1 200 OK\r\na: ", b"x" * 65536, "retry"),
    "no HTTP": (b"", b"SSH-2.0-x\r\n", "retry"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_back_end_neither_holds_nor_grows_the_collector(what):
    begin, endless, outcome = HOSTILE[what]

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(begin)
        while True:
            writer.write(endless)
            await writer.drain()

    async def send() -> Answer:
        async with speaking(speak) as port:
            return await sent(backend(port, "http/protobuf", timeout_s=20))

    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = asyncio.run(send())
    assert answer.outcome == outcome
    assert len(answer.reason) < 300
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 100 * MAX_ANSWER_BYTES / 1024


def test_an_answer_that_drips_is_given_up_at_the_timeout():
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"HTTP/1.1 200 OK\r\nabcdefghijklmnopqrstuvwxyz: 1" * 100:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    async def send() -> Answer:
        async with speaking(speak) as port:
            return await sent(backend(port, "http/protobuf", timeout_s=0.5))

    began_s = time.monotonic()
    assert asyncio.run(send()).outcome == "retry"
    assert time.monotonic() - began_s < 20, "half a second, on a machine with nothing else to do"


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT])
def test_a_grpc_status_decides(code):
    async def send() -> Answer:
        async with GrpcBackEnd(lambda: code).running() as it:
            return await sent(backend(it.port, "grpc"))

    answer = asyncio.run(send())
    assert answer.outcome == ("retry" if code is grpc.StatusCode.UNAVAILABLE else "refused")
    assert answer.reason == f"{code.name}: as told"


def test_a_giant_grpc_answer_is_not_taken_in():
    async def giant(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return b"\n" * 50_000_000

    async def send() -> Answer:
        it = GrpcBackEnd()
        it.service = lambda details: grpc.unary_unary_rpc_method_handler(giant)
        async with it.running():
            return await sent(backend(it.port, "grpc"))

    assert asyncio.run(send()).outcome == "refused"
