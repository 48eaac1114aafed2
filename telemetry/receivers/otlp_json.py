"""OTLP in JSON: protobuf's JSON mapping, but with trace and span ids in hex (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding)."""

import base64
from typing import Any, TypeVar

import orjson
from google.protobuf import json_format
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

_IDS = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})


def parse(body: bytes, message: M) -> M:
    """Fill `message` from OTLP/JSON; fields it does not know are ignored, as the protocol asks.

    Raises:
        ValueError: the body is not JSON, or not this message; says what was wrong.
    """
    try:
        document = orjson.loads(body)
        if not isinstance(document, dict):
            raise ValueError(f"the body must be a JSON object, got {type(document).__name__}")
        json_format.ParseDict(_with_base64_ids(document), message, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("the body must not be nested so deeply") from None
    return message


def _with_base64_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_base64_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _base64_from_hex(name, item) if name in _IDS and isinstance(item, str) else _with_base64_ids(item)
        for name, item in value.items()
    }


def _base64_from_hex(name: str, text: str) -> str:
    try:
        return base64.b64encode(bytes.fromhex(text)).decode()
    except ValueError:
        raise ValueError(f"{name} must be hexadecimal, got {text[:40]!r}") from None
