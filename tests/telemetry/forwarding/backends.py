"""Back-ends that run for real on free ports: one of gRPC that answers as told, raw sockets that misbehave."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import grpc

from tests.telemetry.forwarding.bodies import names_in

_SERVICES = {"trace": "traces", "metrics": "metrics", "logs": "logs"}


class GrpcBackEnd:
    """Keeps the names of what it took; `refuse` says which status it answers instead, if any."""

    def __init__(self, refuse: Callable[[], grpc.StatusCode | None] = lambda: None, port: int = 0) -> None:
        self.names: list[str] = []
        self.num_calls = 0
        self.metadata: dict[str, str | bytes] = {}
        self.port = port
        self._refuse = refuse

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["GrpcBackEnd"]:
        """Listen while the block runs."""
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self,))
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        try:
            yield self
        finally:
            await server.stop(grace=0)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """The handler of any OTLP method."""
        signal = _SERVICES[details.method.split(".")[3]]

        async def export(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self.num_calls += 1
            self.metadata = dict(context.invocation_metadata())
            if code := self._refuse():
                await context.abort(code, "as told")
            self.names += names_in(signal, body)
            return b""

        return grpc.unary_unary_rpc_method_handler(export)


@contextlib.asynccontextmanager
async def speaking(
    speak: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object],
) -> AsyncIterator[int]:
    """A server that says whatever `speak` does on each connection; gives its port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await speak(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
