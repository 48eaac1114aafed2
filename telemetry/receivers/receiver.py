"""What both OTLP receivers, gRPC and HTTP, have in common: where requests go and how ports are taken.

sender -> GrpcReceiver | HttpReceiver -> Sink -> Refusal (as OTLP's partial success)
"""

import errno
import socket
from dataclasses import dataclass
from typing import Protocol

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from telemetry.receivers.origin import Peer


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What was not taken of a request that was otherwise accepted; a sender must not send it again."""

    num_refused: int = 0
    reason: str = ""


RETRY_S = 5
"""After so long a sender is asked to try again what could not be taken now."""


class Sink(Protocol):
    """Takes decoded requests; `peer` is who sent them.

    Raises:
        JournalError: nothing of a request can be taken now; the sender must send it again.
    """

    def receive_metrics(self, request: ExportMetricsServiceRequest, peer: Peer) -> Refusal:
        """Take metrics."""
        ...

    def receive_traces(self, request: ExportTraceServiceRequest, peer: Peer) -> Refusal:
        """Take spans."""
        ...

    def receive_logs(self, request: ExportLogsServiceRequest, peer: Peer) -> Refusal:
        """Take log records."""
        ...


def metrics_response(sink: Sink, request: ExportMetricsServiceRequest, peer: Peer) -> ExportMetricsServiceResponse:
    """Hand the request on and say what was refused; full success is an empty answer."""
    refusal = sink.receive_metrics(request, peer)
    if not refusal.num_refused:
        return ExportMetricsServiceResponse()
    partial = ExportMetricsPartialSuccess(rejected_data_points=refusal.num_refused, error_message=refusal.reason)
    return ExportMetricsServiceResponse(partial_success=partial)


def traces_response(sink: Sink, request: ExportTraceServiceRequest, peer: Peer) -> ExportTraceServiceResponse:
    """Hand the request on and say what was refused."""
    refusal = sink.receive_traces(request, peer)
    if not refusal.num_refused:
        return ExportTraceServiceResponse()
    partial = ExportTracePartialSuccess(rejected_spans=refusal.num_refused, error_message=refusal.reason)
    return ExportTraceServiceResponse(partial_success=partial)


def logs_response(sink: Sink, request: ExportLogsServiceRequest, peer: Peer) -> ExportLogsServiceResponse:
    """Hand the request on and say what was refused."""
    refusal = sink.receive_logs(request, peer)
    if not refusal.num_refused:
        return ExportLogsServiceResponse()
    partial = ExportLogsPartialSuccess(rejected_log_records=refusal.num_refused, error_message=refusal.reason)
    return ExportLogsServiceResponse(partial_success=partial)


class PortTakenError(OSError):
    """A port to listen on belongs to another process."""

    def __init__(self, setting: str, host: str, port: int) -> None:
        super().__init__(
            errno.EADDRINUSE,
            f"{setting} must be free on {host}, got {port}, on which another process listens; "
            f"stop that process (perhaps another collector) or set {setting} to another port",
        )


def listen(setting: str, host: str, port: int) -> socket.socket:
    """A listening socket; 0 takes any free port.

    Raises:
        PortTakenError: another process listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(setting, host, port) from None
        raise
    listener.setblocking(False)
    return listener
