"""What OTLP says of failures, in a table."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from telemetry.forwarding.answers import MAX_WAIT_S, of_grpc, of_http, of_success
from telemetry.forwarding.backoff import FIRST_S, LONGEST_S, Backoff

PROTOBUF = {"content-type": "application/x-protobuf"}


def retry_info(seconds: int) -> list[tuple[str, str | bytes]]:
    status = Status(code=8)
    status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=seconds)))
    return [("grpc-status-details-bin", status.SerializeToString())]


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
def test_only_the_codes_that_otlp_lists_are_retried(code):
    listed = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
    assert (of_grpc(code, "", []).outcome == "retry") == (code.name in listed)


def test_an_exhausted_resource_is_retried_only_with_retry_info_and_after_it():
    assert of_grpc(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", []).outcome == "refused"
    answer = of_grpc(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_info(7))
    assert (answer.outcome, answer.wait_s) == ("retry", 7.0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 500, 501, 301])
def test_other_http_statuses_are_refusals(status):
    assert of_http(status, {}, b"").outcome == "refused"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_the_four_http_statuses_are_retried(status):
    assert of_http(status, {"retry-after": "12"}, b"").wait_s == 12
    assert of_http(status, {}, b"").outcome == "retry"


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("Wed, 21 Oct 2015 07:28:10 GMT", 10.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("1e9", MAX_WAIT_S),
        ("Wed, 99 Foo 99999 07:28:10 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_never_more_than_the_limit(header, wait_s):
    assert of_http(503, {"retry-after": header}, b"", now_s=1445412480.0).wait_s == pytest.approx(wait_s)


def test_a_partial_success_is_a_success_with_what_was_refused():
    partial = ExportMetricsPartialSuccess(rejected_data_points=3, error_message="too old")
    body = ExportMetricsServiceResponse(partial_success=partial).SerializeToString()
    for answer in (of_success(body), of_http(200, PROTOBUF, body)):
        assert (answer.outcome, answer.num_refused, answer.reason) == ("delivered", 3, "too old")
    assert of_success(b"").num_refused == 0
    assert of_success(b"\xff no protobuf").outcome == "delivered"


def test_what_a_back_end_says_is_shortened():
    said = Status(message="x" * 10_000).SerializeToString()
    for answer in (of_http(400, PROTOBUF, said), of_http(400, {}, b"y" * 10_000)):
        assert len(answer.reason) < 300
    assert "x" in of_http(400, PROTOBUF, said).reason


def test_waits_grow_to_the_cap_within_the_jitter_and_begin_anew_after_a_success():
    for low, uniform in ((0.5, lambda low, _: low), (1.5, lambda _, high: high)):
        backoff = Backoff(uniform)
        waits = [backoff.wait_s() for _ in range(30)]
        assert waits[0] == pytest.approx(low * FIRST_S)
        assert waits == sorted(waits)
        assert waits[-1] == pytest.approx(low * LONGEST_S)
        backoff.reset()
        assert backoff.wait_s() == pytest.approx(low * FIRST_S)
    assert Backoff().wait_s(asked_s=100) == 100
