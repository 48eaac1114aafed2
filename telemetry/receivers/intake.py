"""What both receivers do with a request, whatever brought it: may it come, unfold it, hand it on, answer.

headers -> authorize -> reserve memory -> decompress -> OTLP protobuf -> Sink -> answer
"""

import asyncio
from collections import Counter
from typing import Protocol

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

from telemetry.journal.errors import JournalError
from telemetry.journal.record import Signal
from telemetry.receivers import compression, otlp_json
from telemetry.receivers.errors import MalformedError, RequestError, UnavailableError
from telemetry.receivers.memory import Held, MemoryLimit
from telemetry.receivers.origin import Peer
from telemetry.receivers.receiver import Refusal
from telemetry.receivers.tokens import Tokens

THREAD_BYTES = 128 * 1024
"""A compressed body above this is unfolded in a thread: zlib and zstd let the event loop go on meanwhile."""

REQUESTS: dict[Signal, type[Message]] = {
    "metrics": metrics.ExportMetricsServiceRequest,
    "traces": traces.ExportTraceServiceRequest,
    "logs": logs.ExportLogsServiceRequest,
}
Answer = metrics.ExportMetricsServiceResponse | traces.ExportTraceServiceResponse | logs.ExportLogsServiceResponse


class Sink(Protocol):
    """Takes requests."""

    def receive(self, signal: Signal, body: bytes, peer: Peer, gzipped: bytes = b"") -> Refusal:
        """Take a request, OTLP as protobuf, that `peer` has sent; `gzipped` is the body as it came, if it came so.

        Raises:
            DecodeError: the body is no such request; nothing of it was taken.
            JournalError: there is no room: nothing of it was taken.
        """
        ...


class Intake:
    """Takes requests for a sink, within limits, and counts them."""

    def __init__(self, sink: Sink, *, max_body_bytes: int, memory: MemoryLimit, tokens: Tokens | None) -> None:
        self.max_body_bytes = max_body_bytes
        self.memory = memory
        self.num_requests: Counter[tuple[str, str, str]] = Counter()
        """By signal, protocol and what became of them: "taken", or why they were not."""
        self.num_bytes: Counter[tuple[str, str]] = Counter()
        """As they came, by signal and protocol."""
        self._sink = sink
        self._tokens = tokens

    def authorize(self, authorization: str) -> None:
        """Take an Authorization header, empty where there was none; this comes before the body.

        Raises:
            UnauthorizedError: tokens are asked for, and it holds none that is known.
        """
        if self._tokens is not None:
            self._tokens.check(authorization)

    async def take(
        self, signal: Signal, body: bytes, peer: Peer, held: Held, *, encoding: str = "identity", is_json: bool = False
    ) -> Refusal:
        """Unfold a body and hand it on.

        Raises:
            RequestError: it is not taken.
        """
        came = body
        if encoding != "identity" and len(body) > THREAD_BYTES:
            body = await asyncio.to_thread(compression.decompressed, body, encoding, self.max_body_bytes, held)
        else:
            body = compression.decompressed(body, encoding, self.max_body_bytes, held)
        try:
            if is_json:
                body = otlp_json.parse(body, REQUESTS[signal]()).SerializeToString()
            gzipped = came if encoding == "gzip" and not is_json else b""
            return self._sink.receive(signal, body, peer, gzipped)
        except (DecodeError, ValueError) as error:
            name = REQUESTS[signal].DESCRIPTOR.name
            raise MalformedError(f"the body must be an {name}: {error}") from None
        except JournalError as error:
            raise UnavailableError(str(error)) from None

    def count(self, signal: Signal, protocol: str, num_bytes: int, error: RequestError | None = None) -> None:
        """Count a request that was answered."""
        self.num_requests[signal, protocol, error.reason if error else "taken"] += 1
        self.num_bytes[signal, protocol] += num_bytes


def answer(signal: Signal, refusal: Refusal) -> Answer:
    """What the sender is told; full success is an empty answer."""
    num, reason = refusal.num_refused, refusal.reason
    match signal:
        case "metrics":
            answered = metrics.ExportMetricsServiceResponse()
            if num:
                answered.partial_success.rejected_data_points = num
                answered.partial_success.error_message = reason
            return answered
        case "traces":
            traced = traces.ExportTraceServiceResponse()
            if num:
                traced.partial_success.rejected_spans = num
                traced.partial_success.error_message = reason
            return traced
        case "logs":
            logged = logs.ExportLogsServiceResponse()
            if num:
                logged.partial_success.rejected_log_records = num
                logged.partial_success.error_message = reason
            return logged
