"""What a table's readers and shards report."""

import asyncio

import numpy as np
import pytest

from deployments.embeddings import wire
from deployments.embeddings.changes import Position
from deployments.embeddings.meters import ReaderMeter, ShardMeter
from deployments.embeddings.shard import Found
from deployments.embeddings.table import Table
from deployments.embeddings.view import StaleViewError
from telemetry import conventions
from telemetry.emitting.trace import Asked, current
from tests.telemetry.emitting.sink import emitter_to, listening

TABLE = Table(name="items", rows=100, width=1, dtype="float32")
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def sink():
    with listening() as kept:
        yield kept


def test_a_look_up_by_the_wire_is_a_span_of_the_shard_under_the_one_that_asks(sink):
    shard, reader = emitter_to(sink.endpoint, trace_ratio=0.0), emitter_to(sink.endpoint)
    meter = ShardMeter("items", shard)

    def lookup(ids, told):
        with meter.lookup(len(ids), told):
            return Found(values=np.zeros((len(ids), 1), np.float32), position=Position(1, 2), epoch=3)

    async def main():
        server, endpoint = await wire.listen("127.0.0.1", TABLE, lookup)
        line = await wire.connect(endpoint, TABLE)
        trace = reader.begin(SAMPLED)
        current.set(trace)
        with Asked("ask shard 0 of items") as asked:
            await line.lookup(np.array([1, 2]), asked.passed)
        await line.lookup(np.array([3]))
        line.close()
        server.close()
        return trace

    trace = asyncio.run(main())
    reader.spans.request(trace, "POST /lookup", start_ns=1, end_ns=2, attributes=())
    for each in (shard, reader):
        each.shutdown()
    spans = {span.name: span for span in sink.spans}
    assert set(spans) == {"POST /lookup", "ask shard 0 of items", "shard of items"}
    assert {span.trace_id.hex() for span in spans.values()} == {SAMPLED[3:35]}
    assert spans["shard of items"].parent_span_id == spans["ask shard 0 of items"].span_id
    assert shard.counter(conventions.SHARD_ROWS)._totals == {(("trimtab.embeddings.table", "items"),): 3}


def test_what_a_shard_fails_with_is_counted_and_kept(sink):
    emitter = emitter_to(sink.endpoint)
    meter = ShardMeter("items", emitter)
    with pytest.raises(StaleViewError), meter.lookup(1, emitter.begin(SAMPLED).passed(5)):
        raise StaleViewError("moved")
    with pytest.raises(StaleViewError), meter.change():
        raise StaleViewError("moved")
    emitter.shutdown()
    for metric in ("trimtab.embeddings.lookup.duration", "trimtab.embeddings.change.duration"):
        (point,) = sink.last(metric).histogram.data_points
        assert {a.key: a.value.string_value for a in point.attributes}["error.type"] == "StaleViewError"
    (span,) = sink.spans
    assert span.status.message == "StaleViewError"


def test_a_reader_tells_where_its_rows_were_found(sink):
    emitter = emitter_to(sink.endpoint)
    meter = ReaderMeter("items", emitter)
    meter.counts.keys, meter.counts.near, meter.counts.hits = 10, 3, 5
    emitter.shutdown()
    rows = sink.last("trimtab.embeddings.rows").sum
    assert rows.is_monotonic
    assert {point.attributes[1].value.string_value: point.as_int for point in rows.data_points} == {
        "near": 3,
        "kept": 5,
        "fetched": 2,
    }
