"""Who asks whom is read from the traces."""

from telemetry.incidents.calls import calls_of
from telemetry.series.traces import Span


def span(service, number, parent=0, trace="a"):
    return Span(
        trace_id=trace,
        span_id=str(number),
        parent_id=str(parent),
        service=service,
        name="",
        start_s=0.0,
        duration_s=1.0,
        failed=False,
    )


def test_a_span_below_another_services_was_asked_for_by_it_and_so_on_down():
    spans = [span("texts", 1), span("texts", 2, 1), span("texts.embed", 3, 2), span("table.shards", 4, 3)]
    assert calls_of(reversed(spans)) == {"texts": {"texts.embed", "table.shards"}, "texts.embed": {"table.shards"}}


def test_spans_of_other_traces_and_services_that_ask_each_other_end_nowhere():
    assert calls_of([span("a", 1), span("b", 2, 1, trace="other")]) == {}
    assert calls_of([span("a", 1), span("b", 2, 1), span("a", 3, 2)]) == {"a": {"b"}, "b": {"a"}}
