"""The quick protocol talks as uvicorn's own does; it only writes less often."""

import asyncio
from functools import partial

import pytest
import uvicorn
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from deployments.http.asgi import error_body, header, read_body, respond
from deployments.ingress import protocol
from deployments.ingress.protocol import FastPathProtocol

PREFIX = "/v2/models/a"
HOST = b"Host: localhost\r\n"


async def echo(scope, receive, send):
    """Answers the body; where a header asks for it, later, in parts, or not at all."""
    body = await read_body(scope, receive, 2**20)
    match header(scope, b"x-be"):
        case "slow":
            await asyncio.sleep(0.01)
        case "broken":
            raise RuntimeError("on purpose")
        case "parted":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"!"})
            return
        case "refusing":
            await respond(send, 400, error_body("no"))
            return
    await respond(send, 200, scope["method"].encode() + b" " + scope["path"].encode() + b" " + body)


def post(body=b"", *lines, path=f"{PREFIX}/infer", version="1.1"):
    head = f"POST {path} HTTP/{version}\r\n".encode() + HOST
    return head + b"".join(line + b"\r\n" for line in (b"Content-Length: %d" % len(body), *lines)) + b"\r\n" + body


CONVERSATIONS = {
    "one": post(b"abc"),
    "no body": post(),
    "kept alive": post(b"abc") + post(b"de"),
    "pipelined behind a slow one": post(b"abc", b"x-be: slow") + post(b"de") + post(b"f", path="/other"),
    "pipelined behind another path": post(b"abc", b"x-be: slow", path="/other") + post(b"de"),
    "to be closed": post(b"abc", b"Connection: close") + post(b"lost"),
    "HTTP/1.0": post(b"abc", version="1.0"),
    "expecting to go on": post(b"abc", b"Expect: 100-continue"),
    "chunked": f"POST {PREFIX}/infer HTTP/1.1\r\n".encode()
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    "large": post(b"x" * 300_000),
    "another path": post(b"abc", path="/v2/models/ab/infer"),
    "with a query": post(b"abc", path=f"{PREFIX}/infer?a=b"),
    "another method": f"GET {PREFIX}/infer HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "in parts": post(b"abc", b"x-be: parted") + post(b"de"),
    "refused": post(b"abc", b"x-be: refusing") + post(b"de"),
    "broken": post(b"abc", b"x-be: broken"),
    "two lengths": post(b"abc", b"Content-Length: 2"),
    "a length that is none": f"POST {PREFIX}/infer HTTP/1.1\r\nContent-Length: x\r\n\r\n".encode(),
    "a length and chunks": post(b"abc", b"Transfer-Encoding: chunked"),
    "an upgrade": post(b"abc", b"Connection: Upgrade", b"Upgrade: websocket"),
    "garbage behind": post(b"abc") + b"garbage\r\n\r\n",
}


class Transport(asyncio.Transport):
    """A client that reads everything, or nothing."""

    def __init__(self):
        super().__init__()
        self.written, self.closed = [], False

    def write(self, data):
        if not self.closed and data:
            self.written.append(bytes(data))

    def get_extra_info(self, name, default=None):
        return {"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 6)}.get(name, default)

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        pass

    resume_reading = pause_reading


def connection(make, app=echo):
    """A connection to a server of `app`, and its client's end."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none")
    config.load()
    state = ServerState()
    made = make(config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop())
    transport = Transport()
    made.connection_made(transport)
    return made, transport


def quick(app=echo):
    return partial(FastPathProtocol, PREFIX, app)


async def settled(made, transport):
    """Return when all that was asked on this connection is answered, or it is closed."""
    async with asyncio.timeout(20):
        while not transport.closed and not (made.cycle and made.cycle.response_complete and not made.pipeline):
            await asyncio.sleep(0.001)


async def talk(make, pieces):
    made, transport = connection(make)
    for piece in pieces:
        if not transport.closed:
            made.data_received(piece)
            await asyncio.sleep(0)
    await settled(made, transport)
    return b"".join(transport.written), transport.closed


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_goes_as_with_uvicorns_own_protocol(name, size):
    said = CONVERSATIONS[name]
    if len(said) > 10_000 and size < 1000:
        size *= 1000
    pieces = [said[at : at + size] for at in range(0, len(said), size)]

    async def both():
        return await talk(quick(), pieces), await talk(HttpToolsProtocol, pieces)

    ours, theirs = asyncio.run(both())
    assert ours == theirs
    assert ours[0].startswith(b"HTTP/1.1")


def test_a_response_is_written_at_once():
    async def main():
        made, transport = connection(quick())
        made.data_received(post(b"abc") + post(b"de", path="/other"))
        await settled(made, transport)
        return transport.written

    written = asyncio.run(main())
    assert len(written) == 1 + 2, "uvicorn writes head and body apart"
    assert written[0].endswith(b"\r\n\r\nPOST /v2/models/a/infer abc")


def test_a_request_waits_for_a_client_that_does_not_read():
    async def main():
        made, transport = connection(quick())
        made.data_received(post(b"abc"))
        made.pause_writing()
        await asyncio.sleep(0.02)
        held_back = list(transport.written)
        made.resume_writing()
        await settled(made, transport)
        return held_back, transport.written

    held_back, written = asyncio.run(main())
    assert held_back == []
    assert b"".join(written).endswith(b"abc")


def test_the_application_learns_that_its_client_has_gone():
    heard = []

    async def app(_, receive, __):
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])

    async def main():
        made, _ = connection(quick(app))
        made.data_received(post(b"abc"))
        await asyncio.sleep(0)
        made.connection_lost(None)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert heard == ["http.request", "http.disconnect"]


def test_a_server_that_stops_answers_what_has_begun():
    async def main():
        made, transport = connection(quick())
        made.data_received(post(b"abc", b"x-be: slow"))
        await asyncio.sleep(0)
        made.shutdown()
        closed_at_once = transport.closed
        await settled(made, transport)
        return closed_at_once, b"".join(transport.written), transport.closed

    closed_at_once, written, closed = asyncio.run(main())
    assert not closed_at_once
    assert b"connection: close" in written
    assert written.endswith(b"abc")
    assert closed


def test_a_lane_that_asks_who_is_answered_by_the_whole_application():
    async def main():
        made, transport = connection(partial(FastPathProtocol, PREFIX, None))
        made.data_received(post(b"abc"))
        await settled(made, transport)
        return transport.written

    assert asyncio.run(main())[0].endswith(b"abc")


def test_the_protocol_is_used_with_the_uvicorn_it_was_tested_with_and_no_other(monkeypatch, caplog):
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", HTTP_PROTOCOLS["auto"])
    usual = HTTP_PROTOCOLS["auto"]
    with monkeypatch.context() as other:
        other.setattr(uvicorn, "__version__", "9.9.9")
        protocol.install(PREFIX, echo)
    assert HTTP_PROTOCOLS["auto"] == usual
    assert "this is 9.9.9" in caplog.text
    protocol.install(PREFIX, echo)
    assert HTTP_PROTOCOLS["auto"] != usual
