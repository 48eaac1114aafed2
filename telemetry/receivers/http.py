"""OTLP over HTTP: protobuf or JSON, plain or compressed (https://opentelemetry.io/docs/specs/otlp/#otlphttp)."""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator, Mapping

import uvicorn
from google.protobuf import json_format
from google.protobuf.message import Message as Protobuf
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no stubs
from starlette.types import Message, Receive, Scope, Send

from telemetry.journal.record import Signal
from telemetry.receivers import compression
from telemetry.receivers.errors import BusyError, MalformedError, RequestError, TooLargeError, UnsupportedError
from telemetry.receivers.intake import Intake, answer
from telemetry.receivers.memory import Held
from telemetry.receivers.origin import Peer
from telemetry.receivers.receiver import Tls, listen

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
PATHS: Mapping[str, Signal] = {"/v1/metrics": "metrics", "/v1/traces": "traces", "/v1/logs": "logs"}
BODY_TIMEOUT_S = 30.0
"""A sender that takes longer for a body gives back the memory that it holds."""


class Application:
    """The three paths of OTLP; ASGI without a framework, which would take as long as the rest."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        incoming = _Incoming(receive)
        signal = PATHS.get(scope["path"])
        if signal is None or scope["method"] != "POST":
            await incoming.drain(scope, self._intake.max_body_bytes)
            await _send(send, 404 if signal is None else 405, b"", "text/plain", {})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        num_bytes = 0
        try:
            with Held(self._intake.memory) as held:
                self._intake.authorize(headers.get("authorization", ""))
                if content_type not in (PROTOBUF, JSON):
                    raise UnsupportedError(f"content-type must be {PROTOBUF} or {JSON}, got {content_type[:80]!r}")
                encoding = compression.check(headers.get("content-encoding", ""))
                body = await self._body(headers, incoming, held)
                num_bytes = len(body)
                peer = _peer(scope, headers)
                refusal = await self._intake.take(
                    signal, body, peer, held, encoding=encoding, is_json=content_type == JSON
                )
        except RequestError as error:
            self._intake.count(signal, "http", num_bytes, error)
            await incoming.drain(scope, self._intake.max_body_bytes)
            await _refuse(send, error, content_type)
        except _GoneError:
            self._intake.count(signal, "http", num_bytes, MalformedError())
        else:
            self._intake.count(signal, "http", num_bytes)
            await _answer(send, answer(signal, refusal), content_type)

    async def _body(self, headers: Mapping[str, str], receive: Receive, held: Held) -> bytes:
        """The body as it comes, no more than may be held."""
        max_bytes = self._intake.max_body_bytes
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > max_bytes:
            raise TooLargeError(f"the body must not exceed {max_bytes} bytes, got {announced}")
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            held.reserve(len(body))
            if len(body) > max_bytes:
                raise TooLargeError(f"the body must not exceed {max_bytes} bytes, got {len(body)}")
            return body
        parts, num_bytes = [], 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    if message["type"] == "http.disconnect":
                        raise _GoneError
                    part = message.get("body", b"")
                    num_bytes += len(part)
                    if num_bytes > max_bytes:
                        raise TooLargeError(f"the body must not exceed {max_bytes} bytes, got more")
                    held.reserve(len(part))
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
                    message = await receive()
        except TimeoutError:
            raise BusyError(f"the body must come within {BODY_TIMEOUT_S:g} s, got {num_bytes} bytes of it") from None


class HttpReceiver:
    """Serves the application with uvicorn inside the running loop, leaving signals to whoever owns it."""

    def __init__(self, intake: Intake, *, host: str, port: int, tls: Tls | None) -> None:
        self.port = port
        self._host = host
        self._server = _Server(
            uvicorn.Config(
                Application(intake),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=1,
                server_header=False,
                ssl_certfile=tls.certificate if tls else None,
                ssl_keyfile=tls.key if tls else None,
                ssl_ca_certs=str(tls.client_ca) if tls and tls.client_ca else None,
                ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.client_ca else ssl.CERT_NONE,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            PortTakenError: another process listens on the port.
        """
        listener = listen("http_port", self._host, self.port)
        self.port = listener.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve([listener]))

    async def stop(self) -> None:
        """Finish what is being received and stop listening."""
        if self._serving:
            self._server.should_exit = True
            await self._serving


class _Incoming:
    """What the sender still sends of a request."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_over = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._is_over = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def drain(self, scope: Scope, most_bytes: int) -> None:
        """Let the rest of a body that is refused come, and let go of it.

        A connection that is closed on bytes nobody has read is reset, and the answer is lost (RFC 9112, 9.6). A body
        that announces more than `most_bytes` is not waited for, nor one whose sender waits for `100 Continue`.
        """
        headers = dict(scope["headers"])
        announced = headers.get(b"content-length", b"")
        if headers.get(b"expect") == b"100-continue" or (announced.isdigit() and int(announced) > most_bytes):
            return
        num_bytes = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while not self._is_over and num_bytes <= most_bytes:
                    num_bytes += len((await self()).get("body", b""))


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _GoneError(Exception):
    """The sender has hung up."""


def _peer(scope: Scope, headers: Mapping[str, str]) -> Peer:
    """Who sends; the port only where the connection is kept, since another one says nothing about the sender."""
    if scope.get("client") is None:
        return Peer()
    address, port = scope["client"]
    is_kept = scope["http_version"] != "1.0" and headers.get("connection", "").lower() != "close"
    return Peer(address, str(port) if is_kept else "")


async def _refuse(send: Send, error: RequestError, content_type: str) -> None:
    headers = {"retry-after": str(error.retry_s)} if error.retry_s else {}
    if error.http == 401:
        headers["www-authenticate"] = "Bearer"
    await _answer(send, Status(code=error.code, message=str(error)), content_type, error.http, headers)


async def _answer(
    send: Send,
    message: Protobuf,
    content_type: str,
    status_code: int = 200,
    headers: Mapping[str, str] = {},
) -> None:
    """The message in the request's own content type, JSON where that is unknown."""
    if content_type == PROTOBUF:
        await _send(send, status_code, message.SerializeToString(), PROTOBUF, headers)
    else:
        await _send(send, status_code, json_format.MessageToJson(message, indent=None).encode(), JSON, headers)


async def _send(send: Send, status_code: int, body: bytes, media_type: str, headers: Mapping[str, str]) -> None:
    pairs = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    pairs += [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(status_code), "headers": pairs})
    await send({"type": "http.response.body", "body": body})
