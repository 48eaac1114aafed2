"""What instruments give the export: OpenTelemetry's data points."""

from collections.abc import Mapping

from opentelemetry.sdk.metrics import export as otel

Attributes = tuple[tuple[str, str | int | float | bool], ...]
"""Attributes of a data point as pairs, so that they can key a dict without a copy."""

CUMULATIVE = otel.AggregationTemporality.CUMULATIVE


def numbers(values: Mapping[Attributes, float], start_ns: int, now_ns: int) -> list[otel.NumberDataPoint]:
    """A data point for each value.

    Raises:
        TypeError, ValueError: a value is no number.
    """
    return [
        otel.NumberDataPoint(
            attributes=dict(attributes),
            start_time_unix_nano=start_ns,
            time_unix_nano=now_ns,
            value=value if isinstance(value, int) else float(value),
        )
        for attributes, value in values.items()
    ]
