"""A real OTLP/gRPC server that keeps what it is sent."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from telemetry.emitting.emitter import Emitter


class Sink(
    metrics_service_pb2_grpc.MetricsServiceServicer,
    trace_service_pb2_grpc.TraceServiceServicer,
    logs_service_pb2_grpc.LogsServiceServicer,
):
    """Keeps what it is sent."""

    def __init__(self):
        self.metrics = []
        self.spans = []
        self.span_resources = []
        self.logs = []
        self.resources = []
        self.requests = []

    def Export(self, request, context):  # noqa: N802 - gRPC's name
        if isinstance(request, metrics_service_pb2.ExportMetricsServiceRequest):
            self.requests.append(request)
            for reported in request.resource_metrics:
                self.resources.append({a.key: a.value.string_value for a in reported.resource.attributes})
                self.metrics.extend(metric for scope in reported.scope_metrics for metric in scope.metrics)
            return metrics_service_pb2.ExportMetricsServiceResponse()
        if isinstance(request, logs_service_pb2.ExportLogsServiceRequest):
            for reported in request.resource_logs:
                self.logs.extend(record for scope in reported.scope_logs for record in scope.log_records)
            return logs_service_pb2.ExportLogsServiceResponse()
        for reported in request.resource_spans:
            resource = {a.key: a.value.string_value for a in reported.resource.attributes}
            spans = [span for scope in reported.scope_spans for span in scope.spans]
            self.spans.extend(spans)
            self.span_resources.extend((span, resource) for span in spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def last(self, name):
        """The metric as it came last."""
        return [metric for metric in self.metrics if metric.name == name][-1]


@contextmanager
def listening(port=0) -> Iterator[Sink]:
    """A sink on loopback; `endpoint` is its URL."""
    server = grpc.server(ThreadPoolExecutor(4))
    kept = Sink()
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(kept, server)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(kept, server)
    kept.endpoint = f"http://127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    yield kept
    server.stop(None)


def emitter_to(endpoint, **options):
    """An emitter of version 3 of `digits`."""
    return Emitter(service="digits", version="3", role="replica", instance="r1", endpoint=endpoint, **options)
