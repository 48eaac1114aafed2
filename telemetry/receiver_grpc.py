"""OTLP over gRPC (https://opentelemetry.io/docs/specs/otlp/#otlpgrpc)."""

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from telemetry.receiver import PortTaken, Sink, listen, logs_response, metrics_response, traces_response


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
            PortTaken: another process listens on the port.
        """
        # gRPC's own error names no port: try it first. Without so_reuseport=0 two collectors would share it silently.
        listen("grpc_port", self._host, self.port).close()
        server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", self._max_body_bytes)]
        )
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(self._sink), server)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(self._sink), server)
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(_Logs(self._sink), server)
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            self.port = server.add_insecure_port(f"{host}:{self.port}")
        except RuntimeError:
            raise PortTaken("grpc_port", self._host, self.port) from None
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Finish what is being received and stop listening."""
        if self._server:
            await self._server.stop(grace=0.5)


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def Export(  # noqa: N802 - gRPC's name
        self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: object
    ) -> metrics_service_pb2.ExportMetricsServiceResponse:
        return metrics_response(self._sink, request)


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def Export(  # noqa: N802 - gRPC's name
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: object
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        return traces_response(self._sink, request)


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def Export(  # noqa: N802 - gRPC's name
        self, request: logs_service_pb2.ExportLogsServiceRequest, context: object
    ) -> logs_service_pb2.ExportLogsServiceResponse:
        return logs_response(self._sink, request)
