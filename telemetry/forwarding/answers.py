"""What a back-end's answer means for the request: it has it, it may be sent again, or it never will be taken.

The rules are OTLP's own (https://opentelemetry.io/docs/specs/otlp/#failures): what may be retried is listed there,
all else must not be, and a partial success is a success.
"""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # no stubs
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no stubs
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

MAX_REASON = 200
"""Characters kept of what a back-end says."""
MAX_WAIT_S = 300.0
"""The longest a back-end may ask us to wait; one that asks for more is tried again after this."""

RETRYABLE_CODES = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one request."""

    outcome: Literal["delivered", "retry", "refused"]
    reason: str = ""
    """What the back-end says, shortened; of a delivered one, why it refused a part."""
    wait_s: float = 0.0
    """Seconds that the back-end wants to be left alone, in [0, `MAX_WAIT_S`]."""
    num_refused: int = 0
    """Spans, points or records of a delivered request that the back-end did not take."""
    by_content: bool = False
    """Whether a part of the refused request might be taken: it was too large, or something in it was wrong."""


def of_grpc(code: grpc.StatusCode, details: str | None, metadata: Iterable[tuple[str, str | bytes]]) -> Answer:
    """What a gRPC call that failed means."""
    reason = f"{code.name}: {(details or '')[:MAX_REASON]}"
    wait_s = _retry_info(metadata)
    if code in RETRYABLE_CODES or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and wait_s is not None):
        return Answer(outcome="retry", reason=reason, wait_s=wait_s or 0.0)
    by_content = code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
    return Answer(outcome="refused", reason=reason, by_content=by_content)


def of_http(status: int, headers: Mapping[str, str], body: bytes, *, now_s: float | None = None) -> Answer:
    """What an HTTP response means; `body` is its beginning."""
    if 200 <= status < 300:
        return of_success(body if "protobuf" in headers.get("content-type", "") else b"")
    reason = f"HTTP {status}: {_said(headers, body)}"
    if status in RETRYABLE_STATUSES:
        return Answer(outcome="retry", reason=reason, wait_s=retry_after(headers.get("retry-after"), now_s))
    return Answer(outcome="refused", reason=reason, by_content=status in (400, 413, 422))


def of_success(body: bytes) -> Answer:
    """What an export's response says; the three signals' responses have the same form."""
    response = ExportTraceServiceResponse()
    try:
        response.ParseFromString(body)
    except DecodeError:
        return Answer(outcome="delivered")
    partial = response.partial_success
    return Answer(
        outcome="delivered",
        num_refused=max(0, partial.rejected_spans),
        reason=partial.error_message[:MAX_REASON],
    )


def _retry_info(metadata: Iterable[tuple[str, str | bytes]]) -> float | None:
    """The wait in the details of a gRPC status, None where there is none."""
    for key, value in metadata:
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        status, info = Status(), RetryInfo()
        try:
            status.ParseFromString(value)
            if any(detail.Unpack(info) for detail in status.details):
                return _bounded(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
        except DecodeError:
            return None
    return None


def retry_after(text: str | None, now_s: float | None = None) -> float:
    """`Retry-After`, in seconds or as a date (RFC 9110, 10.2.3); 0 where it is neither."""
    if not text:
        return 0.0
    try:
        return _bounded(float(text))
    except ValueError:
        pass
    try:
        until_s = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return _bounded(until_s - (time.time() if now_s is None else now_s))


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_WAIT_S) if math.isfinite(seconds) else 0.0


def _said(headers: Mapping[str, str], body: bytes) -> str:
    """What the back-end says is wrong: OTLP sends a Status, others text."""
    if "protobuf" in headers.get("content-type", ""):
        status = Status()
        try:
            status.ParseFromString(body)
        except DecodeError:
            return ""
        return str(status.message)[:MAX_REASON]
    return " ".join(body[: 4 * MAX_REASON].decode(errors="replace").split())[:MAX_REASON]
