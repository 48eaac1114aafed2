"""Sends one encoded request to a collector, and says what became of it.

What comes back is bounded whatever the collector does: it may accept and never answer, answer garbage, or without end.
"""

import gzip
import http.client
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # no stubs
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from telemetry.emitting.endpoint import Endpoint, Signal

MAX_ANSWER_BYTES = 64 * 1024
MAX_WAIT_S = 60.0
"""Longest that a collector may ask to be left alone."""

_METHODS: dict[Signal, str] = {
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_ANSWERS: dict[Signal, Any] = {
    "metrics": ExportMetricsServiceResponse,
    "traces": ExportTraceServiceResponse,
    "logs": ExportLogsServiceResponse,
}
_REQUESTS: dict[Signal, Any] = {
    "metrics": ExportMetricsServiceRequest,
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
}
_REJECTED = {"metrics": "rejected_data_points", "traces": "rejected_spans", "logs": "rejected_log_records"}
_RETRIED = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
"""https://opentelemetry.io/docs/specs/otlp/#failures; RESOURCE_EXHAUSTED as well where it says when to try again."""
_RETRIED_HTTP = {429, 502, 503, 504}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a request."""

    error: str = ""
    """The kind of error, such as `UNAVAILABLE` or `503`; empty where it was taken."""
    may_retry: bool = False
    wait_s: float = 0.0
    """Seconds that the collector wants to be left alone."""
    num_rejected: int = 0
    """Of what it took, how much it has thrown away."""


class Sender(Protocol):
    """Sends one signal to one collector; belongs to one thread."""

    name: str
    """The collector, for people."""

    def send(self, body: bytes, timeout_s: float) -> Outcome:
        """Send an encoded export request; nothing is raised for what the collector does."""

    def close(self) -> None:
        """End the connection; may be called from any thread, amid `send`."""


def sender_to(endpoint: Endpoint, signal: Signal) -> Sender:
    """What sends `signal` to `endpoint`.

    Raises:
        OSError: a certificate or key cannot be read.
    """
    return GrpcSender(endpoint, signal) if endpoint.protocol == "grpc" else HttpSender(endpoint, signal)


class GrpcSender:
    """OTLP/gRPC. A connection that failed is made anew: gRPC would leave the collector alone for longer and longer."""

    def __init__(self, endpoint: Endpoint, signal: Signal) -> None:
        self.name = endpoint.target
        self._signal: Signal = signal
        self._headers = tuple((name.lower(), value) for name, value in endpoint.headers)
        self._compression = grpc.Compression.Gzip if endpoint.compression == "gzip" else grpc.Compression.NoCompression
        self._credentials: grpc.ChannelCredentials | None = None
        if endpoint.is_secure:
            self._credentials = grpc.ssl_channel_credentials(
                _read(endpoint.certificate), _read(endpoint.client_key), _read(endpoint.client_certificate)
            )
        self._channel: grpc.Channel | None = None

    def send(self, body: bytes, timeout_s: float) -> Outcome:
        """Send an encoded export request."""
        channel = self._channel = self._channel or self._opened()
        try:
            call = channel.unary_unary(_METHODS[self._signal], None, None)  # bytes, as they are
            answer: bytes = call(body, timeout=timeout_s, metadata=self._headers)
        except grpc.RpcError as error:
            outcome = _grpc_outcome(error)
            if outcome.error == grpc.StatusCode.UNAVAILABLE.name:
                self.close()
            return outcome
        except ValueError:  # the channel was closed meanwhile
            return Outcome(error=grpc.StatusCode.CANCELLED.name, may_retry=True)
        return _taken(self._signal, answer)

    def close(self) -> None:
        """End the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _opened(self) -> grpc.Channel:
        options = [("grpc.max_receive_message_length", MAX_ANSWER_BYTES), ("grpc.use_local_subchannel_pool", 1)]
        if self._credentials is not None:
            return grpc.secure_channel(self.name, self._credentials, options, self._compression)
        return grpc.insecure_channel(self.name, options, self._compression)


class HttpSender:
    """OTLP/HTTP with protobuf; the connection stays open."""

    def __init__(self, endpoint: Endpoint, signal: Signal) -> None:
        self.name = endpoint.target
        self._signal: Signal = signal
        parts = urlsplit(endpoint.url)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host, self._port = parts.hostname or "", parts.port
        self._trust = _trust(endpoint) if endpoint.is_secure else None
        self._headers = {"Content-Type": "application/x-protobuf", **dict(endpoint.headers)}
        self._packs = endpoint.compression == "gzip"
        if self._packs:
            self._headers["Content-Encoding"] = "gzip"
        self._connection: http.client.HTTPConnection | None = None

    def send(self, body: bytes, timeout_s: float) -> Outcome:
        """Send an encoded export request; once more where the collector has closed a connection that lay idle."""
        packed = gzip.compress(body, compresslevel=1) if self._packs else body
        ends_s = time.monotonic() + timeout_s
        is_new = self._connection is None
        try:
            return self._post(packed, ends_s)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            if is_new or isinstance(error, TimeoutError):
                return _lost(error)
        try:
            return self._post(packed, ends_s)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            return _lost(error)

    def close(self) -> None:
        """End the connection."""
        self._drop()

    def _post(self, body: bytes, ends_s: float) -> Outcome:
        left_s = max(0.05, ends_s - time.monotonic())
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connected(left_s)
        if connection.sock is not None:
            connection.sock.settimeout(left_s)
        connection.request("POST", self._path, body, self._headers)
        response = connection.getresponse()
        answer = b""
        while len(answer) <= MAX_ANSWER_BYTES and (piece := response.read1(8192)):
            answer += piece
            if time.monotonic() > ends_s:
                raise TimeoutError("it answers without end")
        if len(answer) > MAX_ANSWER_BYTES or response.will_close:
            self._drop()
        if response.status == http.client.OK:
            return _taken(self._signal, answer)
        return Outcome(
            error=str(response.status),
            may_retry=response.status in _RETRIED_HTTP,
            wait_s=_seconds(response.headers.get("Retry-After")),
        )

    def _connected(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._trust is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._trust)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class ConsoleSender:
    """Writes what would be sent as text to standard output: OpenTelemetry's exporter `console`."""

    name = "console"

    def __init__(self, signal: Signal) -> None:
        self._request = _REQUESTS[signal]

    def send(self, body: bytes, timeout_s: float) -> Outcome:  # noqa: ARG002 - it takes no time
        """Write it."""
        sys.stdout.write(f"{self._request.FromString(body)}\n")
        return Outcome()

    def close(self) -> None:
        """Nothing is open."""


def _grpc_outcome(error: Any) -> Outcome:
    code = error.code()
    wait_s = None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            wait_s = _retry_info(value)
    return Outcome(
        error=code.name,
        may_retry=code in _RETRIED or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and wait_s is not None),
        wait_s=wait_s or 0.0,
    )


def _retry_info(details: bytes) -> float | None:
    """Seconds until the collector may be tried again, if it says so."""
    try:
        for detail in Status.FromString(details).details:
            told = RetryInfo()
            if detail.Unpack(told):
                wait_s: float = told.retry_delay.seconds + told.retry_delay.nanos / 1e9
                return min(MAX_WAIT_S, max(0.0, wait_s))
    except DecodeError:
        pass  # then it has not said so
    return None


def _taken(signal: Signal, answer: bytes) -> Outcome:
    """It answered that it has taken the request; what it threw away of it, it says."""
    try:
        partial = _ANSWERS[signal].FromString(answer).partial_success
    except DecodeError:
        return Outcome(error="invalid_response")
    return Outcome(num_rejected=max(0, getattr(partial, _REJECTED[signal])))


def _lost(error: Exception) -> Outcome:
    return Outcome(error=type(error).__name__, may_retry=True)


def _seconds(retry_after: str | None) -> float:
    """Of a date, which is allowed as well, nothing is made: the usual pauses will do."""
    return min(MAX_WAIT_S, float(retry_after)) if retry_after and retry_after.strip().isdigit() else 0.0


def _trust(endpoint: Endpoint) -> ssl.SSLContext:
    trust = ssl.create_default_context(cafile=endpoint.certificate)
    if endpoint.client_certificate:
        trust.load_cert_chain(endpoint.client_certificate, endpoint.client_key)
    return trust


def _read(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None
