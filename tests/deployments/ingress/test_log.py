"""HAProxy's log lines, as HAProxy 2.8 wrote them."""

import asyncio
import socket

import pytest

from deployments.ingress.haproxy import ONE_IN, TLS_CERT
from deployments.ingress.log import IngressLog, Line, parse
from telemetry.emitting.emitter import Emitter
from tests.conftest import free_port

HEAD = b"<134>Nov 24 04:18:36 haproxy[2163]: 127.0.0.1:53350 [24/Nov/2026:04:18:36.032] http_frontend "
TAIL = b" 345 - - ---- 1/1/0/0/0 0/0 "
ANSWERED = HEAD + b"http-digits/r1 0/0/0/1/12 200" + TAIL + b'"POST /v2/models/digits/infer HTTP/1.1"\n'


def test_an_answered_request_is_read():
    assert parse(ANSWERED) == Line(method="POST", backend="http-digits", status=200, duration_s=0.012)


def test_a_request_that_found_no_replica_is_read():
    line = HEAD + b"http-digits/<NOSRV> 0/-1/-1/-1/3 503" + TAIL + b'"POST /v2/models/digits/infer HTTP/1.1"\n'
    assert parse(line) == Line(method="POST", backend="http-digits", status=503, duration_s=0.003)


@pytest.mark.parametrize(
    ("written", "under_tls"),
    [
        (b" http_frontend ", b" http_frontend~ "),
        (b'"POST /v2/models/digits/infer HTTP/1.1"', b'"POST https://localhost:8000/v2/models/digits/infer HTTP/2.0"'),
    ],
)
def test_a_request_by_tls_or_http2_is_read_as_any_other(written, under_tls):
    assert parse(ANSWERED.replace(written, under_tls)) == parse(ANSWERED)


def test_a_line_of_a_thinned_log_stands_for_those_left_out():
    assert parse(ANSWERED.replace(b"<134>", b"<150>")).stands_for == ONE_IN
    assert parse(ANSWERED.replace(b"<134>", b"<133>")).stands_for == 1


@pytest.mark.parametrize(
    "line",
    [
        b"",
        ANSWERED.replace(b"<134>", b"<147>"),  # an error, which has a line of its own as well
        b"<132>Nov 24 04:18:36 haproxy[2163]: Proxy stats stopped (cumulated conns: FE: 0, BE: 0).\n",
        HEAD + b"http-telemetry/r1 0/0/0/1/2 200" + TAIL + b'"GET /telemetry/api/alerts HTTP/1.1"\n',
        HEAD + b"http-server/r1 0/0/0/1/2 503" + TAIL + b'"GET /v2/health/ready HTTP/1.1"\n',
        HEAD + b"http-server/r1 0/0/0/1/2 503" + TAIL + b'"GET https://localhost:8000/v2/health/ready HTTP/2.0"\n',
        HEAD + b"http-telemetry/r1 0/0/0/1/2 200" + TAIL + b'"GET https://h/telemetry/v2/models HTTP/2.0"\n',
        HEAD + b"http-digits/r1 0/0/0/-1/9 -1" + TAIL + b'"POST /v2/models/digits/infer HTTP/1.1"\n',
        HEAD + b'http_frontend/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>"\n',
    ],
)
def test_other_lines_are_left_out(line):
    assert parse(line) is None


@pytest.mark.parametrize(("certificate", "scheme"), [("", "http"), ("/etc/tls/both.pem", "https")])
def test_lines_that_arrive_by_udp_are_counted(certificate, scheme, monkeypatch):
    monkeypatch.setenv(TLS_CERT, certificate)
    port = free_port()
    emitter = Emitter(service="ingress", version="", role="ingress", instance="i", endpoint="http://127.0.0.1:9")

    async def main():
        log = IngressLog(f"127.0.0.1:{port}", emitter)
        await log.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as haproxy:
            for _ in range(5):
                haproxy.sendto(ANSWERED, ("127.0.0.1", port))
        await asyncio.sleep(0.2)
        (point,) = log._meter._durations.data(0, 1).data_points
        log._transport.close()
        return point

    point = asyncio.run(main())
    assert point.count == 5
    assert point.sum == pytest.approx(0.06)
    assert point.attributes["http.response.status_code"] == 200
    assert point.attributes["url.scheme"] == scheme
