"""Sends OTLP over gRPC."""

from collections.abc import Iterator
from typing import Any

import grpc

from telemetry.forwarding.answers import Answer, of_grpc, of_success
from telemetry.forwarding.backend import BackEnd
from telemetry.journal.record import Signal

MAX_ANSWER_BYTES = 64 * 1024
_METHODS: dict[Signal, str] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


class GrpcClient:
    """One channel to a back-end, that is made anew by gRPC itself when it breaks.

    Raises:
        SecretError: a secret is not where the configuration says.
    """

    def __init__(self, config: BackEnd) -> None:
        scheme, _, target = config.endpoint.partition("://")
        options: list[tuple[str, int]] = [
            ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.absolute_max_metadata_size", MAX_ANSWER_BYTES),
            ("grpc.enable_retries", 0),
            ("grpc.max_reconnect_backoff_ms", 5000),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self._metadata = tuple(config.metadata().items())
        self._timeout_s = config.timeout_s
        compression = grpc.Compression.Gzip if config.compression == "gzip" else grpc.Compression.NoCompression
        if scheme == "https":
            tls = config.tls
            credentials = grpc.ssl_channel_credentials(
                tls.ca_file.read_bytes() if tls.ca_file else None,
                tls.key_file.read_bytes() if tls.key_file else None,
                tls.cert_file.read_bytes() if tls.cert_file else None,
            )
            self._channel = grpc.aio.secure_channel(target, credentials, options, compression)
        else:
            self._channel = grpc.aio.insecure_channel(target, options, compression)
        self._calls = {signal: self._channel.unary_unary(method, None, None) for signal, method in _METHODS.items()}

    async def send(self, signal: Signal, body: bytes) -> Answer:
        """Send one request of serialized OTLP."""
        try:
            answer = await self._calls[signal](body, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            return of_grpc(error.code(), error.details(), _pairs(error.trailing_metadata()))
        return of_success(answer)

    async def close(self) -> None:
        """Give the connection up."""
        await self._channel.close(grace=0)


def _pairs(metadata: Any) -> Iterator[tuple[str, str | bytes]]:
    """(key, value) of each; typed loosely by gRPC's stubs, and None where the call never got through."""
    yield from metadata or ()
