"""OTLP over gRPC, plain or gzip (https://opentelemetry.io/docs/specs/otlp/#otlpgrpc).

gRPC's own decompression is off: bodies are unfolded by the same rules as HTTP's, within the same limit of memory. Each
call is taken as a stream of one message, so that its headers are read before its body is.
"""

from collections.abc import AsyncIterator

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # no stubs
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no stubs

from telemetry.journal.record import Signal
from telemetry.receivers.compression import GZIP_MAGIC
from telemetry.receivers.errors import MalformedError, RequestError
from telemetry.receivers.intake import Intake, answer
from telemetry.receivers.memory import Held
from telemetry.receivers.origin import grpc_peer
from telemetry.receivers.receiver import PortTakenError, Tls, listen

SERVICES: dict[Signal, str] = {
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}
STATUS_DETAILS = "grpc-status-details-bin"

Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcReceiver:
    """Serves the three OTLP services."""

    def __init__(self, intake: Intake, *, host: str, port: int, tls: Tls | None) -> None:
        self.port = port
        self._host = host
        self._intake = intake
        self._tls = tls
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            PortTakenError: another process listens on the port.
        """
        # gRPC's own error names no port: try it first. Without so_reuseport=0 two collectors would share it silently.
        listen("grpc_port", self._host, self.port).close()
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", self._intake.max_body_bytes),
            ("grpc.per_message_decompression", 0),
        ]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers(
            tuple(_service(name, signal, self._intake) for signal, name in SERVICES.items())
        )
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            if self._tls:
                self.port = server.add_secure_port(f"{host}:{self.port}", _credentials(self._tls))
            else:
                self.port = server.add_insecure_port(f"{host}:{self.port}")
        except RuntimeError:
            raise PortTakenError("grpc_port", self._host, self.port) from None
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Finish what is being received and stop listening."""
        if self._server:
            await self._server.stop(grace=0.5)


def _service(name: str, signal: Signal, intake: Intake) -> "grpc.GenericRpcHandler[bytes, bytes]":
    async def export(messages: AsyncIterator[bytes], context: Context) -> bytes:
        num_bytes = 0
        try:
            intake.authorize(_header(context, "authorization"))
            with Held(intake.memory) as held:
                body = await anext(messages, None)
                if body is None:
                    raise MalformedError("a call must hold one message, got none")
                num_bytes = len(body)
                held.reserve(num_bytes)
                encoding = "gzip" if body.startswith(GZIP_MAGIC) else "identity"  # no protobuf begins like that
                refusal = await intake.take(signal, body, grpc_peer(context.peer()), held, encoding=encoding)
        except RequestError as error:
            intake.count(signal, "grpc", num_bytes, error)
            await context.abort(error.grpc, str(error), _trailers(error))
        intake.count(signal, "grpc", num_bytes)
        return answer(signal, refusal).SerializeToString()

    return grpc.method_handlers_generic_handler(name, {"Export": grpc.stream_unary_rpc_method_handler(export)})


def _header(context: Context, name: str) -> str:
    found = [value for key, value in context.invocation_metadata() or () if key == name]
    return str(found[0]) if found else ""


def _trailers(error: RequestError) -> tuple[tuple[str, bytes], ...]:
    """The status in full; with RetryInfo where the request is to be sent again
    (https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-throttling).
    """
    status = Status(code=error.code, message=str(error))
    if error.retry_s:
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=error.retry_s)))
    return ((STATUS_DETAILS, status.SerializeToString()),)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    pair = tls.key.read_bytes(), tls.certificate.read_bytes()
    ca = tls.client_ca.read_bytes() if tls.client_ca else None
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)
