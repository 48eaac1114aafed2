"""What the benchmark of reliability counts as a failure, and what as growth."""

import asyncio
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest

from benchmarks.surviving.clients import HttpCalls, asking, event_streams
from benchmarks.surviving.memory import MIB, growth, role, slope

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNK = b"9\r\ndata: {}\n\r\n"


@asynccontextmanager
async def answering(*answers):
    """The port of a server that answers so on each connection, one request after the other, and then closes it."""

    async def handle(reader, writer):
        for answer in answers:
            await reader.read(65536)
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


def problems(client_of, *answers, times=1):
    """What a client says is wrong, asking again once the connection has been closed."""

    async def main():
        async with answering(*answers) as port:
            client = client_of(port)
            found = []
            for _ in range(times):
                found.append(await client.ask())
                while client._streams and not client._streams[0].at_eof():
                    await asyncio.sleep(0.001)
            await client.close()
            return found

    return asyncio.run(asyncio.wait_for(main(), 30))


def http(port):
    return HttpCalls(port, "/v2/models/m/infer", b"{}")


def test_a_connection_that_was_closed_before_a_request_is_opened_anew_and_no_failure():
    assert problems(http, WHOLE, times=3) == [None, None, None]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "the connection broke"),
        (WHOLE[:-1], "the connection broke"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno", "503 no"),
    ],
)
def test_a_request_that_has_no_whole_answer_has_failed(answer, said):
    (problem,) = problems(http, answer)
    assert problem.startswith(said)


@pytest.mark.parametrize(("num_events", "is_cut"), [(3, False), (4, True)])
def test_a_stream_that_lacks_events_was_cut(num_events, is_cut):
    body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + 3 * CHUNK + b"0\r\n\r\n"
    (problem,) = problems(lambda port: event_streams(port, "/", b"{}", num_events=num_events, seconds=0.01), body)
    assert (problem is not None) == is_cut


def test_clients_ask_as_often_as_they_are_told():
    class Quick:
        kind = "quick"

        async def ask(self):
            return "wrong"

        async def close(self):
            pass

    with asking([Quick(), Quick()], per_s=100) as asked:
        began = time.monotonic()
        time.sleep(0.2)
        most = (time.monotonic() - began) * 100 + 2
    assert 0 < asked.num_requests <= most + 2  # those that were due when it ended
    assert len(asked.failures) == asked.num_requests


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("ray::ServeReplica:walking:Model", "walking:Model"),
        ("ray::ServeController.listen_for_change", "ServeController"),
        ("/usr/bin/python3 -u /somewhere/ray/dashboard/agent.py --port 1", "agent"),
        ("/somewhere/raylet/raylet --raylet_socket_name=/tmp/x", "raylet"),
    ],
)
def test_a_process_is_named_by_what_it_is(command, name):
    assert role(command) == name


def test_growth_is_of_processes_that_were_there_before():
    assert growth({"a 1": 100, "b 2": 100}, {"a 1": 105, "c 3": 900}) == {"a 1": 1.05}


@pytest.mark.parametrize(("mib_per_h", "grows"), [(0.0, False), (20.0, True)])
def test_a_leak_is_told_from_noise_and_from_a_wild_value(mib_per_h, grows):
    times_s = np.arange(0, 7200, 60.0)
    noise = np.random.default_rng(0).normal(0, 2, len(times_s))
    noise[5] = 500
    found = slope(times_s, ((100 + mib_per_h * times_s / 3600 + noise) * MIB).astype(int))
    assert found.low < mib_per_h < found.high
    assert (found.low > 0) == grows
