"""What clients see: HAProxy's log of each request, counted and reported as the service `ingress`.

A replica cannot see the time a request waits before the replica reads it, nor a request that finds no replica. HAProxy
sends a line per request by UDP (its `httplog` format) to the address in `RAY_SERVE_HAPROXY_LOG_TARGET`:

    ... http_frontend http-digits/replica 0/0/0/1/2 200 345 - - ---- 1/1/0/0/0 0/0 "POST /v2/models/... HTTP/1.1"
    ... http_frontend~ ... "POST https://localhost:8000/v2/models/... HTTP/2.0"    under TLS, by HTTP/2

https://docs.haproxy.org/2.8/configuration.html#8.2.3

Under load most lines are left out, since a line costs as much as a small model's answer: one of syslog's facility
`deployments.ingress.haproxy.THINNED` then stands for `ONE_IN` requests. What failed with a 5xx keeps a line of its own.
"""

import asyncio
import os
import re
import time
from dataclasses import dataclass

from deployments.http.meters import RequestMeter
from deployments.ingress.haproxy import ONE_IN, TLS_CERT
from telemetry.emitting.emitter import Emitter

LOG_TARGET = "RAY_SERVE_HAPROXY_LOG_TARGET"
SERVICE = "ingress"
_THINNED_INFO, _THINNED = b"<150>", (b"<144>", b"<145>", b"<146>", b"<147>", b"<148>", b"<149>")
"""How lines of the facility `THINNED` begin, those of the level `info` and those above: 8 * 18 + level (RFC 5424)."""
_LINE = re.compile(
    rb" http_frontend~? (?P<backend>\S+?)/\S+ "
    rb"(?:-?\d+/){4}\+?(?P<total_ms>-?\d+) (?P<status>\d{3}) .*\"(?P<method>[A-Z]+) (?:https?://[^/\s]*)?(?P<path>/v2(?!/health/)\S*)"
)
"""Only the models and their server: the page's own requests would drown them. A probe of health is no traffic: while a
server starts, "not yet ready" is the right answer and no error."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One answered request."""

    method: str
    backend: str
    """HAProxy's name for the application it went to, or "default_backend" where there was none."""
    status: int
    duration_s: float
    """From the request's first byte to the response's last, in whole milliseconds."""
    stands_for: int = 1
    """So many requests like it."""


def parse(line: bytes) -> Line | None:
    """The request a log line tells of; none where it tells of something else, or the client left unanswered."""
    match = None if line.startswith(_THINNED) else _LINE.search(line)  # above `info`, it has another line of its own
    if match is None or int(match["total_ms"]) < 0:
        return None
    return Line(
        method=match["method"].decode(),
        backend=match["backend"].decode(),
        status=int(match["status"]),
        duration_s=int(match["total_ms"]) / 1000,
        stands_for=ONE_IN if line.startswith(_THINNED_INFO) else 1,
    )


class IngressLog(asyncio.DatagramProtocol):
    """Listens for the log of the ingress on this host."""

    def __init__(self, target: str, emitter: Emitter) -> None:
        host, _, port = target.rpartition(":")
        self._address = (host, int(port))
        self._emitter = emitter
        self._meter = RequestMeter(emitter)
        self._scheme = "https" if os.environ.get(TLS_CERT) else "http"
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> None:
        """Begin to listen and to report."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=self._address)
        self._emitter.start()

    async def stop(self) -> None:
        """Report once more and stop."""
        if self._transport:
            self._transport.close()
            await asyncio.to_thread(self._emitter.shutdown)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002 - asyncio's signature
        """Count a request, or those it stands for."""
        line = parse(data)
        if line is None:
            return
        now_ns = time.time_ns()
        self._meter.request(
            method=line.method,
            route=line.backend,
            status=line.status,
            start_ns=now_ns - int(line.duration_s * 1e9),
            end_ns=now_ns,
            trace=None,
            scheme=self._scheme,
            times=line.stands_for,
        )
