"""OTLP attributes as pairs that can key a dict."""

import math
from collections.abc import Iterable
from operator import itemgetter

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

Attributes = tuple[tuple[str, str | int | float | bool], ...]
"""By key, each key once."""

MAX_TEXT = 256
"""Characters kept of any name or attribute a sender chooses."""


def attributes(pairs: Iterable[KeyValue]) -> Attributes:
    """The pairs in the order of their keys; of a key that comes twice, which OTLP forbids, the last value."""
    named = {pair.key[:MAX_TEXT]: plain(pair.value) for pair in pairs}
    return tuple(sorted(named.items(), key=itemgetter(0)))


def plain(value: AnyValue) -> str | int | float | bool:
    """An attribute's value, shortened; what is not a scalar becomes text, and so does what is not finite."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value[:MAX_TEXT]
    if kind in ("int_value", "bool_value") or (kind == "double_value" and math.isfinite(value.double_value)):
        number: int | float | bool = getattr(value, kind)
        return number
    return str(value)[:MAX_TEXT]
