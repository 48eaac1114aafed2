"""Spans as OTLP writes them.

https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
"""

import struct
from collections.abc import Iterable
from functools import lru_cache

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from telemetry.emitting.data_points import Attributes
from telemetry.emitting.protobuf import field, varint
from telemetry.emitting.trace import Link

_SPANS = b"\x12"
_HEAD = struct.Struct("<2s16s2s8s2s8scQcQ")
_TRACE_ID, _SPAN_ID, _PARENT_ID, _START, _END = b"\x0a\x10", b"\x12\x08", b"\x22\x08", b"\x39", b"\x41"
"""Each field's number, and where it has one its length."""


def span(
    trace_id: int,
    span_id: int,
    parent_id: int,
    shape: bytes,
    start_ns: int,
    end_ns: int,
    *,
    state: str = "",
    error: str | None = None,
    links: Iterable[Link] = (),
) -> bytes:
    """A span as a field of its scope's; `shape` is all of it that many have alike."""
    head = _HEAD.pack(
        _TRACE_ID,
        trace_id.to_bytes(16, "big"),
        _SPAN_ID,
        span_id.to_bytes(8, "big"),
        _PARENT_ID,
        parent_id.to_bytes(8, "big"),
        _START,
        start_ns,
        _END,
        max(start_ns, end_ns),
    )
    content = head + shape if parent_id else head[:28] + head[38:] + shape
    if state:
        content += field(3, state.encode())
    if error is not None:
        content += field(15, Status(code=Status.STATUS_CODE_ERROR, message=error[:MAX_ERROR]).SerializeToString())
    for link in links:
        content += field(13, field(1, link.trace_id.to_bytes(16, "big")) + field(2, link.span_id.to_bytes(8, "big")))
    return _SPANS + varint(len(content)) + content


MAX_ERROR = 1024
"""Characters of an error's message."""


@lru_cache(maxsize=4096)
def shape_of(name: str, kind: int, attributes: Attributes = ()) -> bytes:
    """What spans of this name, kind and attributes have alike."""
    made = Span(name=name, attributes=[KeyValue(key=key, value=any_value(value)) for key, value in attributes])
    made.kind = kind  # type: ignore[assignment]  # a number, as OTLP has it
    return made.SerializeToString()


def any_value(value: str | int | float | bool) -> AnyValue:
    """An attribute's value."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value)
