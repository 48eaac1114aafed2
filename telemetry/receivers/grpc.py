"""OTLP over gRPC (https://opentelemetry.io/docs/specs/otlp/#otlpgrpc)."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.code_pb2 import UNAVAILABLE  # type: ignore[import-untyped]  # no stubs
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # no stubs
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no stubs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from telemetry.journal.errors import JournalError
from telemetry.receivers.origin import Peer, grpc_peer
from telemetry.receivers.receiver import (
    RETRY_S,
    PortTakenError,
    Sink,
    listen,
    logs_response,
    metrics_response,
    traces_response,
)

_PACKAGE = "opentelemetry.proto.collector"


class GrpcReceiver:
    """Serves the three OTLP services."""

    def __init__(self, sink: Sink, *, host: str, port: int, max_body_bytes: int) -> None:
        self.port = port
        self._host = host
        self._sink = sink
        self._max_body_bytes = max_body_bytes
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            PortTakenError: another process listens on the port.
        """
        # gRPC's own error names no port: try it first. Without so_reuseport=0 two collectors would share it silently.
        listen("grpc_port", self._host, self.port).close()
        server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", self._max_body_bytes)]
        )
        server.add_generic_rpc_handlers(
            (
                _service(
                    f"{_PACKAGE}.metrics.v1.MetricsService", self._sink, ExportMetricsServiceRequest, metrics_response
                ),
                _service(f"{_PACKAGE}.trace.v1.TraceService", self._sink, ExportTraceServiceRequest, traces_response),
                _service(f"{_PACKAGE}.logs.v1.LogsService", self._sink, ExportLogsServiceRequest, logs_response),
            )
        )
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            self.port = server.add_insecure_port(f"{host}:{self.port}")
        except RuntimeError:
            raise PortTakenError("grpc_port", self._host, self.port) from None
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Finish what is being received and stop listening."""
        if self._server:
            await self._server.stop(grace=0.5)


def _service(
    name: str, sink: Sink, message: type[Message], respond: Callable[[Sink, Any, Peer], Message]
) -> "grpc.GenericRpcHandler[bytes, bytes]":
    """One OTLP service, decoded here so that a body that is no protobuf is the client's error, not an internal one."""

    async def export(body: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        request = message()
        try:
            request.ParseFromString(body)
        except DecodeError as error:
            rule = f"the body must be an {message.DESCRIPTOR.name}: {error}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, rule)
        try:
            return respond(sink, request, grpc_peer(context.peer())).SerializeToString()
        except JournalError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error), (_retry(str(error)),))

    return grpc.method_handlers_generic_handler(name, {"Export": grpc.unary_unary_rpc_method_handler(export)})


def _retry(message: str) -> tuple[str, bytes]:
    """Trailing metadata that ask to send again later (https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-throttling)."""
    status = Status(code=UNAVAILABLE, message=message)
    status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=RETRY_S)))
    return "grpc-status-details-bin", status.SerializeToString()
