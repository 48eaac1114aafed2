"""Requests of one signal put together, taken apart, and counted."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from telemetry.journal.record import Record, Signal


def by_signal(records: Sequence[Record], wanted: Sequence[Signal]) -> dict[Signal, list[bytes]]:
    """The bodies of each signal that is wanted, in their order."""
    bodies: dict[Signal, list[bytes]] = {}
    for record in records:
        if record.signal in wanted and record.body:
            bodies.setdefault(record.signal, []).append(record.body)
    return bodies


def joined(bodies: Sequence[bytes]) -> bytes:
    """One request that holds all of them: in protobuf, messages one after the other are one whose lists are joined
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
    """
    return b"".join(bodies)


def num_items(signal: Signal, body: bytes) -> int:
    """How many spans, data points or log records a request holds; 0 where it cannot be read."""
    try:
        match signal:
            case "traces":
                traces = ExportTraceServiceRequest.FromString(body)
                return sum(len(scope.spans) for each in traces.resource_spans for scope in each.scope_spans)
            case "logs":
                logs = ExportLogsServiceRequest.FromString(body)
                return sum(len(scope.log_records) for each in logs.resource_logs for scope in each.scope_logs)
            case "metrics":
                metrics = ExportMetricsServiceRequest.FromString(body)
                return sum(
                    len(getattr(metric, kind).data_points)
                    for each in metrics.resource_metrics
                    for scope in each.scope_metrics
                    for metric in scope.metrics
                    if (kind := metric.WhichOneof("data"))
                )
    except DecodeError:
        return 0
