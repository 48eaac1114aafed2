"""Metrics and resources as OTLP writes them, by the SDK's own encoder."""

from collections.abc import Iterable

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import export as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.conventions import Instrument
from telemetry.emitting.protobuf import SCOPE_NAME

_SCOPE = InstrumentationScope(SCOPE_NAME)


def metrics_of(reported: Iterable[tuple[Instrument, otel.DataT]]) -> list[otel.Metric]:
    """Those that have a data point."""
    return [otel.Metric(i.name, i.description, i.unit, data) for i, data in reported if data.data_points]


def encoded_metrics(resource: Resource, metrics: list[otel.Metric]) -> bytes:
    """A part of an export request: parts one after the other are a request as well."""
    scoped = otel.ResourceMetrics(resource, [otel.ScopeMetrics(_SCOPE, metrics, "")], "")
    return encode_metrics(otel.MetricsData([scoped])).SerializeToString()


def encoded_resource(resource: Resource) -> bytes:
    """The resource alone, as spans and log records bear it."""
    scoped = otel.ResourceMetrics(resource, [], "")
    (found,) = encode_metrics(otel.MetricsData([scoped])).resource_metrics
    return found.resource.SerializeToString()
