"""Spans as OTLP writes them.

https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
"""

import struct

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from telemetry.emitting.data_points import Attributes
from telemetry.emitting.protobuf import field, varint
from telemetry.emitting.trace import Link

_SPANS, _SPAN_ID, _START, _END = b"\x12", b"\x12\x08", b"\x39", b"\x41"
"""Each field's number, and where it has one its length."""
_TIMES = struct.Struct("<cQcQ")
MAX_ERROR = 1024
"""Characters of an error's message."""


def span(
    trace: bytes, span_id: bytes, parent: bytes, shape: bytes, start_ns: int, end_ns: int, tail: bytes = b""
) -> bytes:
    """A span as a field of its scope's: `trace` and `parent` are fields, `shape` all that many spans have alike, `tail`
    what few have."""
    times = _TIMES.pack(_START, start_ns, _END, end_ns if end_ns > start_ns else start_ns)
    content = b"".join((trace, _SPAN_ID, span_id, parent, times, shape, tail))
    return _SPANS + varint(len(content)) + content


def trace_field(trace_id: int) -> bytes:
    """Of a span."""
    return b"\x0a\x10" + trace_id.to_bytes(16, "big")


def parent_field(span_id: int) -> bytes:
    """Of a span; nothing where there is no parent."""
    return b"\x22\x08" + span_id.to_bytes(8, "big") if span_id else b""


def link_field(link: Link) -> bytes:
    """A span that a span has to do with."""
    return field(13, field(1, link.trace_id.to_bytes(16, "big")) + field(2, link.span_id.to_bytes(8, "big")))


def state_field(state: str) -> bytes:
    """The `tracestate`, if there is one."""
    return field(3, state.encode()) if state else b""


def error_field(error: str | None) -> bytes:
    """A status that says what went wrong, if anything did."""
    if error is None:
        return b""
    return field(15, Status(code=Status.STATUS_CODE_ERROR, message=error[:MAX_ERROR]).SerializeToString())


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
