"""What a process logs, as OTLP log records."""

import logging

import pytest

from telemetry.emitting import logs
from telemetry.emitting.trace import current
from tests.telemetry.emitting.sink import emitter_to, listening

logger = logging.getLogger("deployments.here")
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def sink():
    with listening() as kept:
        yield kept


def logging_to(sink):
    emitter = emitter_to(sink.endpoint)
    logs.observe(emitter)
    emitter.start()
    return emitter


def values(record):
    return {a.key: a.value.string_value or a.value.int_value for a in record.attributes}


def test_a_record_bears_the_trace_of_the_request_under_way(sink):
    emitter = logging_to(sink)
    trace = emitter.begin(SAMPLED)
    entered = current.set(trace)
    logger.warning("row %d is bad", 7)
    current.reset(entered)
    logger.error("alone")
    emitter.shutdown()
    inside, alone = sink.logs
    assert (inside.body.string_value, inside.severity_text, inside.severity_number) == ("row 7 is bad", "WARNING", 13)
    assert (inside.trace_id.hex(), inside.flags) == (SAMPLED[3:35], 1)
    assert int.from_bytes(inside.span_id) == trace.span_id
    assert values(inside)["code.function.name"].startswith("deployments.here.test_a_record")
    assert (alone.trace_id, alone.severity_number) == (b"", 17)


def test_an_exception_is_told_whole(sink):
    emitter = logging_to(sink)
    try:
        raise KeyError("weights")
    except KeyError:
        logger.exception("it failed")
    emitter.shutdown()
    (record,) = sink.logs
    told = values(record)
    assert (told["exception.type"], told["exception.message"]) == ("KeyError", "'weights'")
    assert "test_logs.py" in told["exception.stacktrace"]


def test_what_reporting_itself_logs_is_not_reported_and_after_shutdown_nothing_is(sink):
    emitter = logging_to(sink)
    logging.getLogger("telemetry.emitting.delivery").warning("no collector")
    emitter.shutdown()
    logger.warning("late")
    assert sink.logs == []


def test_one_that_was_never_started_hears_nothing_once_it_has_ended(sink):
    before = list(logging.root.handlers)
    emitter = emitter_to(sink.endpoint)
    logs.observe(emitter)
    emitter.shutdown()
    assert logging.root.handlers == before


def test_a_message_that_cannot_be_made_harms_nobody(sink, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    emitter = logging_to(sink)
    logger.warning("%d rows", "many")
    logger.warning("on")
    emitter.shutdown()
    assert [record.body.string_value for record in sink.logs] == ["on"]


def test_more_than_the_queue_takes_is_counted(sink, monkeypatch):
    monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "2")
    emitter = emitter_to(sink.endpoint)
    handler = logs.LogHandler(emitter)
    for number in range(5):
        handler.emit(logging.LogRecord("x", logging.WARNING, "x.py", 1, str(number), (), None))
    assert emitter._destinations[0].logs[1].counts["queue_full"] == 3
    emitter.shutdown()
    assert [record.body.string_value for record in sink.logs] == ["0", "1"]
