"""Prometheus' names for OpenTelemetry's metrics and attributes
(https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#otlp-metric-points-to-prometheus).
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from telemetry import conventions
from telemetry.queries.labels import NAME, Labels, labels_of
from telemetry.queries.source import Metadata
from telemetry.queries.values_text import number_text
from telemetry.receivers.attributes import Attributes
from telemetry.series.stream import Key
from telemetry.storage.catalogue import Kind

JOB, INSTANCE = "job", "instance"
SCOPE_NAME, SCOPE_VERSION = "otel_scope_name", "otel_scope_version"

INSTRUMENTS: Mapping[str, conventions.Instrument] = {
    each.name: each for each in vars(conventions).values() if isinstance(each, conventions.Instrument)
}

_OTHER = re.compile(r"[^a-zA-Z0-9_:]")
_OTHER_IN_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_UNDERSCORES = re.compile(r"_{2,}")
_ANNOTATION = re.compile(r"\{[^}]*\}")
_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "seconds", "us": "seconds", "ns": "seconds",
    "By": "bytes", "KiBy": "bytes", "MiBy": "bytes", "GiBy": "gibibytes", "TiBy": "tibibytes",
    "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes",
    "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams",
    "Cel": "celsius", "Hz": "hertz", "1": "", "%": "percent",
}  # fmt: skip
"""Milliseconds and kibibytes and so on are kept as seconds and bytes, which is what their names say."""
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


@lru_cache(maxsize=10_000)
def metric_name(metric: str, unit: str, kind: Kind) -> str:
    """`http.server.request.duration` in `s` becomes `http_server_request_duration_seconds`."""
    parts = [part for part in _OTHER.sub("_", metric).split("_") if part]
    main, _, per = _ANNOTATION.sub("", unit).strip().partition("/")
    words = [_UNITS.get(main, _OTHER.sub("_", main)).strip("_"), f"per_{_PER.get(per, per)}" if per else ""]
    for word in filter(None, words):
        if word not in parts and not "_".join(parts).endswith(word):
            parts.append(_OTHER.sub("_", word))
    if unit == "1" and kind == "gauge" and "ratio" not in parts:
        parts.append("ratio")
    if kind == "counter":
        parts = [*(part for part in parts if part != "total"), "total"]
    name = _UNDERSCORES.sub("_", "_".join(parts)) or "_"
    return f"_{name}" if name[0].isdigit() else name


def label_name(attribute: str) -> str:
    """`http.route` becomes `http_route`."""
    name = _UNDERSCORES.sub("_", _OTHER_IN_LABEL.sub("_", attribute)) or "_"
    return f"key_{name}" if name[0].isdigit() else name


def label_value(value: str | int | float | bool) -> str:
    """As text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, float) else str(value)


def labels_for(key: Key, name: str) -> Labels:
    """A series' labels under its Prometheus name; values of attributes whose names become one are joined by `;`."""
    pairs: dict[str, str] = {}
    for attribute, value in key.attributes:
        label = label_name(attribute)
        pairs[label] = f"{pairs[label]};{label_value(value)}" if label in pairs else label_value(value)
    pairs |= {SCOPE_NAME: key.scope.name, SCOPE_VERSION: key.scope.version, JOB: key.service, INSTANCE: key.instance}
    return labels_of([*pairs.items(), (NAME, name)])


def metadata_of(metric: str, unit: str, kind: Kind) -> Metadata:
    """What is known of a metric; a description only of those that Trimtab itself reports."""
    known = INSTRUMENTS.get(metric)
    return Metadata(type=kind, help=known.description if known else "", unit=_UNITS.get(unit, ""))


def attributes_text(attributes: Attributes) -> dict[str, str]:
    """Attributes as text, by name."""
    return {name: label_value(value) for name, value in attributes}
