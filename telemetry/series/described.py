"""What a request says of its points in bytes that most senders share: read once and remembered."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from telemetry.receivers.attributes import Attributes, attributes
from telemetry.receivers.points import Scope, scope
from telemetry.series.wire import UnreadableError


def text(raw: bytes) -> str:
    """A name or unit.

    Raises:
        UnreadableError: it is no text.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise UnreadableError("text is not UTF-8") from None


@lru_cache(maxsize=4096)
def attributes_of(described: Sequence[bytes]) -> Attributes:
    """The attributes of a point, from its KeyValue messages; most senders share them."""
    point = otlp.NumberDataPoint()
    for each in described:
        point.attributes.add().MergeFromString(each)
    return attributes(point.attributes)


@lru_cache(maxsize=256)
def scope_of(raw: bytes) -> Scope:
    """The scope of the metrics that follow."""
    return scope(InstrumentationScope.FromString(raw))


@lru_cache(maxsize=256)
def bounds_of(raw: bytes, scale: float) -> tuple[float, ...]:
    """The bounds of a histogram's buckets, in the conventions' unit."""
    return tuple((np.frombuffer(raw, "<f8") * scale).tolist())
