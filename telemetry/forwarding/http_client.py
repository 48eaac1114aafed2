"""Sends OTLP over HTTP, as protobuf."""

import asyncio
import gzip
import ssl
from collections.abc import Callable, Mapping

import httpx

from telemetry.forwarding.answers import MAX_REASON, Answer, of_http
from telemetry.forwarding.backend import BackEnd, Tls
from telemetry.journal.record import Signal

MAX_ANSWER_BYTES = 64 * 1024
"""Bytes read of an answer; the rest is left where it is."""

Judge = Callable[[int, Mapping[str, str], bytes], Answer]


class HttpClient:
    """Connections to a back-end that are kept between requests.

    Raises:
        SecretError: a secret is not where the configuration says.
    """

    def __init__(self, config: BackEnd) -> None:
        self._endpoint = config.endpoint
        self._compress = config.compression == "gzip"
        headers = {
            **config.metadata(),
            "content-type": "application/x-protobuf",
            # What the answer unpacks to would not be bounded by what is read of it.
            "accept-encoding": "identity",
        }
        if self._compress:
            headers["content-encoding"] = "gzip"
        self._poster = Poster(headers, config.tls, config.timeout_s, of_http)

    async def send(self, signal: Signal, body: bytes) -> Answer:
        """Send one request of serialized OTLP."""
        if self._compress:
            body = await asyncio.to_thread(gzip.compress, body, 1)
        return await self._poster.post(f"{self._endpoint}/v1/{signal}", body)

    async def close(self) -> None:
        """Give the connections up."""
        await self._poster.close()


class Poster:
    """POSTs with one deadline for all of it, however slowly the other end speaks, and a bounded answer."""

    def __init__(self, headers: dict[str, str], tls: Tls, timeout_s: float, judge: Judge) -> None:
        """`judge` says what a response means, by its status, headers and beginning."""
        self._timeout_s = timeout_s
        self._judge = judge
        self._client = httpx.AsyncClient(
            headers=headers, verify=_context(tls), timeout=timeout_s, follow_redirects=False
        )

    async def post(self, url: str, body: bytes) -> Answer:
        """Send `body`; a connection that fails or takes too long may be tried again."""
        beginning: list[bytes] = []
        response: httpx.Response | None = None
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", url, content=body) as response,
            ):
                await _read(response, beginning)
        except TimeoutError:
            reason = f"no whole answer within {self._timeout_s} s"
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            reason = f"{type(error).__name__}: {error}"[:MAX_REASON]
        if response is None:
            return Answer(outcome="retry", reason=reason)
        # Its status was here, and decides, even if the rest never came.
        return self._judge(response.status_code, response.headers, b"".join(beginning)[:MAX_ANSWER_BYTES])

    async def close(self) -> None:
        """Give the connections up."""
        await self._client.aclose()


async def _read(response: httpx.Response, parts: list[bytes]) -> None:
    num_bytes = 0
    async for part in response.aiter_raw():
        parts.append(part)
        num_bytes += len(part)
        if num_bytes >= MAX_ANSWER_BYTES:
            return


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context
