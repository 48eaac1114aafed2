"""Small OTLP requests, serialized, and what is in them by name."""

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def spans_body(*names: str) -> bytes:
    """A request of one span for each name."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for name in names:
        ids = {"trace_id": name.encode()[:16].ljust(16, b"-"), "span_id": name.encode()[-8:].ljust(8, b"-")}
        spans.add(name=name, start_time_unix_nano=1, end_time_unix_nano=2, **ids)
    return request.SerializeToString()


def metrics_body(*names: str, time_ns: int = 1) -> bytes:
    """A request of one gauge for each name."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for name in names:
        metrics.add(name=name).gauge.data_points.add(time_unix_nano=time_ns, as_double=1.0)
    return request.SerializeToString()


def logs_body(*texts: str) -> bytes:
    """A request of one log record for each text."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for text in texts:
        records.add(time_unix_nano=1).body.string_value = text
    return request.SerializeToString()


def names_in(signal: str, body: bytes) -> list[str]:
    """The names (of logs, the texts) in a request."""
    match signal:
        case "traces":
            traces = ExportTraceServiceRequest.FromString(body)
            return [span.name for each in traces.resource_spans for scope in each.scope_spans for span in scope.spans]
        case "metrics":
            metrics = ExportMetricsServiceRequest.FromString(body)
            return [
                one.name for each in metrics.resource_metrics for scope in each.scope_metrics for one in scope.metrics
            ]
    logs = ExportLogsServiceRequest.FromString(body)
    return [
        one.body.string_value for each in logs.resource_logs for scope in each.scope_logs for one in scope.log_records
    ]
