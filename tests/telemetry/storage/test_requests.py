"""Spans and logs: found by trace, service and time, in memory and on disk."""

import numpy as np
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from telemetry.storage import requests
from telemetry.storage.database import Database
from telemetry.storage.logs import LogQuery
from telemetry.storage.schema import SCHEMA, TABLES
from telemetry.storage.spans import SpanQuery
from telemetry.storage.storage import Storage
from tests.telemetry.traffic import START_S, attributes


def trace_id(number):
    return np.random.default_rng(number).bytes(16)


def of_spans(*numbers, service="digits", at_s=START_S, failed=False, duration_s=0.1):
    """A request with a span, and its child, of each trace."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(attributes(service__name=service, service__instance__id="r1"))
    scope = resource.scope_spans.add()
    for number in numbers:
        for child in (False, True):
            span = scope.spans.add(
                trace_id=trace_id(number),
                span_id=(2 * number + child + 1).to_bytes(8, "big"),
                parent_span_id=(2 * number + 1).to_bytes(8, "big") if child else b"",
                name="compute" if child else "POST /infer",
                start_time_unix_nano=int((at_s + number / 1000 + child / 10**4) * 1e9),
                end_time_unix_nano=int((at_s + number / 1000 + duration_s) * 1e9),
                attributes=attributes(number=number),
            )
            span.status.code = 2 if failed else 0
    return request


def of_logs(*texts, service="digits", at_s=START_S, trace=b"", severity=9):
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.extend(attributes(service__name=service))
    for index, text in enumerate(texts):
        record = resource.scope_logs.add().log_records.add(
            time_unix_nano=int((at_s + index) * 1e9), severity_number=severity, trace_id=trace
        )
        record.body.string_value = text
    return request


@pytest.fixture(params=["in memory", "on disk", "half of each", "without a folder"])
def storage(request, tmp_path):
    """Three requests of spans and two of logs."""
    kept = Storage(None if request.param == "without a folder" else tmp_path)
    added = [
        (kept.add_spans, of_spans(*range(300)), START_S),
        (kept.add_logs, of_logs("loads", "is Ready", at_s=START_S), START_S),
        (kept.add_spans, of_spans(*range(300, 400), service="rows", at_s=START_S + 60, failed=True), START_S + 60),
        (kept.add_spans, of_spans(400, at_s=START_S + 7200, duration_s=3.0), START_S + 7200),
        (kept.add_logs, of_logs("it failed", at_s=START_S + 60, trace=trace_id(5), severity=17), START_S + 60),
    ]
    for index, (add, each, at_s) in enumerate(added):
        add(each, each.SerializeToString(), at_s)
        if request.param == "half of each" and index == 2:
            kept.checkpoint(at_s)
    if request.param in ("on disk", "without a folder"):
        kept.checkpoint(START_S + 7200)
    assert kept.flush()
    yield kept
    kept.close()


@pytest.mark.parametrize("number", [0, 17, 299, 399, 400])
def test_a_trace_is_found_whole_by_its_id(storage, number):
    root, child = storage.trace(trace_id(number).hex())
    assert (root.name, child.name, child.parent_id) == ("POST /infer", "compute", root.span_id)
    assert root.attributes == (("number", number),)
    assert storage.trace(trace_id(10**6).hex()) == []


def test_spans_are_searched_the_latest_first(storage):
    latest = storage.search_spans(SpanQuery(name="POST /infer", limit=3))
    assert [dict(span.attributes)["number"] for span in latest] == [400, 399, 398]
    of_digits = storage.search_spans(SpanQuery(name="POST /infer", service="digits", limit=2))
    assert [dict(span.attributes)["number"] for span in of_digits] == [400, 299]
    failed = storage.search_spans(SpanQuery(failed=True, limit=1000))
    assert len(failed) == 200
    assert {span.service for span in failed} == {"rows"}
    slow = storage.search_spans(SpanQuery(min_duration_s=1.0))
    assert {dict(span.attributes)["number"] for span in slow} == {400}
    (one, _) = storage.search_spans(SpanQuery(attributes={"number": "7"}))
    assert one.trace_id == trace_id(7).hex()
    early = storage.search_spans(SpanQuery(end_s=START_S + 30, limit=10**4))
    assert len(early) == 600


def test_logs_are_found_by_trace_text_and_severity(storage):
    assert [record.body for record in storage.search_logs(LogQuery(trace_id=trace_id(5).hex()))] == ["it failed"]
    assert [record.body for record in storage.search_logs(LogQuery(text="ready"))] == ["is Ready"]
    assert [record.body for record in storage.search_logs(LogQuery(min_severity=17))] == ["it failed"]
    assert len(storage.search_logs(LogQuery(service="digits"))) == 3
    assert storage.search_logs(LogQuery(service="rows")) == []


def test_a_repeated_request_is_shown_once(storage):
    again = of_spans(17)
    storage.add_spans(again, again.SerializeToString(), START_S)
    assert len(storage.trace(trace_id(17).hex())) == 2


@pytest.mark.parametrize("num", [1, 2, 600, 5000])
@pytest.mark.parametrize("kind", ["random", "counted"])
def test_the_index_tells_every_trace_that_is_there_and_no_other(num, kind):
    """Ids that are not random cost reads, never the answer."""
    rng = np.random.default_rng(num)
    half = rng.integers(2**64, size=num, dtype=np.uint64) if kind == "random" else np.arange(0, 3 * num, 3, dtype="u8")
    request = requests.Request(
        signal="traces", body=b"", time_ms=0, services=frozenset(), traces=half.astype(np.uint64), num=num
    )
    database = Database(None, SCHEMA, TABLES)
    with database.writing() as connection:
        requests.write(connection, [request])
        for each in [*half[:50].tolist(), *half[-50:].tolist()]:
            assert requests._holds(connection, 1, each)
            assert not requests._holds(connection, 1, (each + 1) % 2**64)


def test_large_requests_make_several_blocks_and_all_is_found(tmp_path):
    storage = Storage(tmp_path)
    for first in range(0, 10_000, 1000):
        request = of_spans(*range(first, first + 1000))
        storage.add_spans(request, request.SerializeToString(), START_S)
    storage.checkpoint(START_S)
    assert storage.flush()
    num = storage._database.read(lambda c: c.execute("SELECT count(*) FROM requests").fetchone()[0])
    assert num > 1
    for number in (0, 999, 5000, 9999):
        assert len(storage.trace(trace_id(number).hex())) == 2
    storage.close()
