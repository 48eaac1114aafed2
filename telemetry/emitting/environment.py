"""What OpenTelemetry's variables say of a process that reports, besides where to.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from telemetry.emitting.data_points import Attributes
from telemetry.emitting.endpoint import Signal, is_named, milliseconds

logger = logging.getLogger(__name__)

ExemplarFilter = Literal["always_on", "always_off", "trace_based"]
Exporter = Literal["otlp", "console", "none"]

_UNSUPPORTED = {
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "explicit_bucket_histogram",
    "OTEL_PROPAGATORS": "tracecontext,baggage",
    "OTEL_CONFIG_FILE": "",
    "OTEL_EXPERIMENTAL_CONFIG_FILE": "",
}
"""Variables of which one value is understood."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a span or log record may have."""

    value_length: int | None = None
    num_attributes: int = 128
    num_links: int = 128

    def of(self, attributes: Attributes) -> Attributes:
        """As many of them, and of each text as much."""
        kept = attributes[: self.num_attributes]
        if self.value_length is None:
            return kept
        return tuple((key, value[: self.value_length] if isinstance(value, str) else value) for key, value in kept)


@dataclass(frozen=True, kw_only=True)
class Queueing:
    """How spans or log records wait for their export."""

    delay_s: float = 1.0
    timeout_s: float = 30.0
    max_size: int = 8192
    max_batch: int = 2048


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The variables, read."""

    is_disabled: bool = False
    exporters: Mapping[Signal, Exporter]
    """Beside Trimtab's own collector."""
    metric_interval_s: float
    metric_timeout_s: float
    spans: Queueing
    logs: Queueing
    exemplars: ExemplarFilter = "trace_based"
    span_limits: Limits
    log_limits: Limits


def read(variables: Mapping[str, str], *, interval_s: float) -> Environment:
    """The variables; `interval_s` is how often metrics go out where none says otherwise."""
    for name, known in _UNSUPPORTED.items():
        given = variables.get(name, "").strip()
        if given and given.lower() != known:
            logger.warning("%s is not supported, but for %r; got %r", name, known, given)
    exemplars: ExemplarFilter = "trace_based"
    match variables.get("OTEL_METRICS_EXEMPLAR_FILTER", "").strip().lower():
        case "always_on":
            exemplars = "always_on"
        case "always_off":
            exemplars = "always_off"
        case "" | "trace_based":
            pass
        case other:
            logger.warning("OTEL_METRICS_EXEMPLAR_FILTER must be one of OpenTelemetry's own, got %r", other)
    interval_s = _seconds(variables, "OTEL_METRIC_EXPORT_INTERVAL", interval_s)
    return Environment(
        is_disabled=variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true",
        exporters={signal: _exporter(signal, variables) for signal in ("metrics", "traces", "logs")},
        metric_interval_s=interval_s,
        metric_timeout_s=_seconds(variables, "OTEL_METRIC_EXPORT_TIMEOUT", 30.0),
        spans=_queueing("OTEL_BSP", variables),
        logs=_queueing("OTEL_BLRP", variables),
        exemplars=exemplars,
        span_limits=_limits("SPAN", variables),
        log_limits=_limits("LOGRECORD", variables),
    )


def _exporter(signal: Signal, variables: Mapping[str, str]) -> Exporter:
    """Which exporter the variables ask for; OTLP only where they say where to, or ask for it by name."""
    name = f"OTEL_{signal.upper()}_EXPORTER"
    match variables.get(name, "").strip().lower():
        case "":
            return "otlp" if is_named(signal, variables) else "none"
        case "otlp":
            return "otlp"
        case "console":
            return "console"
        case "none":
            return "none"
        case other:
            logger.warning("%s must be otlp, console or none, got %r: none is used", name, other)
            return "none"


def _queueing(prefix: str, variables: Mapping[str, str]) -> Queueing:
    usual = Queueing()
    max_size = _number(variables, f"{prefix}_MAX_QUEUE_SIZE", usual.max_size, least=1)
    return Queueing(
        delay_s=_seconds(variables, f"{prefix}_SCHEDULE_DELAY", usual.delay_s),
        timeout_s=_seconds(variables, f"{prefix}_EXPORT_TIMEOUT", usual.timeout_s),
        max_size=max_size,
        max_batch=min(max_size, _number(variables, f"{prefix}_MAX_EXPORT_BATCH_SIZE", usual.max_batch, least=1)),
    )


def _limits(kind: str, variables: Mapping[str, str]) -> Limits:
    def of(name: str, default: int) -> int:
        general = _number(variables, f"OTEL_{name}", default)
        return _number(variables, f"OTEL_{kind}_{name}", general)

    length = of("ATTRIBUTE_VALUE_LENGTH_LIMIT", -1)
    return Limits(
        value_length=None if length < 0 else length,
        num_attributes=of("ATTRIBUTE_COUNT_LIMIT", Limits.num_attributes),
        num_links=_number(variables, "OTEL_SPAN_LINK_COUNT_LIMIT", Limits.num_links),
    )


def _number(variables: Mapping[str, str], name: str, default: int, *, least: int = 0) -> int:
    given = variables.get(name, "").strip()
    if not given:
        return default
    if not given.isascii() or not given.isdigit() or int(given) < least:
        logger.warning("%s must be a whole number, at least %d, got %r: %d is used", name, least, given, default)
        return default
    return int(given)


def _seconds(variables: Mapping[str, str], name: str, default_s: float) -> float:
    return milliseconds(name, variables.get(name, "").strip() or None, default_s)
