"""OTLP over HTTP: protobuf or JSON, gzip or plain (https://opentelemetry.io/docs/specs/otlp/#otlphttp)."""

import asyncio
import contextlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.rpc.code_pb2 import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE  # type: ignore[import-untyped]  # no stubs
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no stubs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry.journal.errors import JournalError
from telemetry.receivers import otlp_json
from telemetry.receivers.origin import Peer
from telemetry.receivers.receiver import RETRY_S, Sink, listen, logs_response, metrics_response, traces_response

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

_CHUNK_BYTES = 64 * 1024


class RejectedError(Exception):
    """A request as a whole cannot be taken."""

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code


def application(sink: Sink, max_body_bytes: int) -> Starlette:
    """The ASGI application with the three OTLP paths."""

    def route(path: str, message: type[Message], respond: Callable[[Sink, Any, Peer], Message]) -> Route:
        async def receive(request: Request) -> Response:
            content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            try:
                if content_type not in (PROTOBUF, JSON):
                    raise RejectedError(415, f"content-type must be {PROTOBUF} or {JSON}, got {content_type!r}")
                body = await _body(request, max_body_bytes)
                return _answer(respond(sink, _decoded(body, message(), content_type), _peer(request)), content_type)
            except RejectedError as rejected:
                code = RESOURCE_EXHAUSTED if rejected.status_code == 413 else INVALID_ARGUMENT
                status = Status(code=code, message=str(rejected))
                return _answer(status, content_type, rejected.status_code)
            except JournalError as error:
                answer = _answer(Status(code=UNAVAILABLE, message=str(error)), content_type, 503)
                answer.headers["retry-after"] = str(RETRY_S)
                return answer
            except ClientDisconnect:
                return Response(status_code=400)

        return Route(path, receive, methods=["POST"])

    return Starlette(
        routes=[
            route("/v1/metrics", ExportMetricsServiceRequest, metrics_response),
            route("/v1/traces", ExportTraceServiceRequest, traces_response),
            route("/v1/logs", ExportLogsServiceRequest, logs_response),
        ]
    )


class HttpReceiver:
    """Serves the application with uvicorn inside the running loop, leaving signals to whoever owns it."""

    def __init__(self, sink: Sink, *, host: str, port: int, max_body_bytes: int) -> None:
        self.port = port
        self._host = host
        self._server = _Server(
            uvicorn.Config(
                application(sink, max_body_bytes),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=1,
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


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _peer(request: Request) -> Peer:
    """Who sends; the port only where the connection is kept, since another one says nothing about the sender."""
    if request.client is None:
        return Peer()
    is_kept = request.scope["http_version"] != "1.0" and request.headers.get("connection", "").lower() != "close"
    return Peer(request.client.host, str(request.client.port) if is_kept else "")


async def _body(request: Request, max_body_bytes: int) -> bytes:
    """The body, decompressed; never holds more than `max_body_bytes` of it."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "identity", ""):
        raise RejectedError(415, f"content-encoding must be gzip or identity, got {encoding!r}")
    gunzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if encoding == "gzip" else None
    parts: list[bytes] = []
    num_bytes = 0
    async for chunk in request.stream():
        for part in _inflated(gunzip, chunk) if gunzip else (chunk,):
            num_bytes += len(part)
            if num_bytes > max_body_bytes:
                raise RejectedError(413, f"the body must not exceed {max_body_bytes} bytes after decompression")
            parts.append(part)
    if gunzip and not gunzip.eof:
        raise RejectedError(400, "the gzip body must be complete, got a part of it")
    return b"".join(parts)


def _inflated(gunzip: "zlib._Decompress", chunk: bytes) -> Iterator[bytes]:
    """What a compressed chunk holds, a little at a time, so that a zip bomb is noticed before it unfolds."""
    while chunk:
        try:
            yield gunzip.decompress(chunk, _CHUNK_BYTES)
        except zlib.error as error:
            raise RejectedError(400, f"the body must be gzip, as content-encoding says: {error}") from None
        chunk = gunzip.unconsumed_tail


def _decoded(body: bytes, message: Message, content_type: str) -> Message:
    name = message.DESCRIPTOR.name
    try:
        if content_type == JSON:
            return otlp_json.parse(body, message)
        message.ParseFromString(body)
    except (DecodeError, ValueError) as error:
        raise RejectedError(400, f"the body must be an {name}: {error}") from None
    return message


def _answer(message: Message, content_type: str, status_code: int = 200) -> Response:
    """The message in the request's own content type, JSON where that is unknown."""
    if content_type == PROTOBUF:
        return Response(message.SerializeToString(), status_code, media_type=PROTOBUF)
    return Response(json_format.MessageToJson(message, indent=None), status_code, media_type=JSON)
