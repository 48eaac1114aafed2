"""Storage as Parquet files, for DuckDB, pandas and whatever else reads them.

points.parquet         a row for each point of a gauge or counter; low and high where it stands for a minute
histograms.parquet     a row for each point of a histogram: the total count of each bucket, with its edges
spans.parquet, logs.parquet
"""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from telemetry.receivers.attributes import Attributes
from telemetry.series.distribution import Buckets
from telemetry.storage import logs, spans
from telemetry.storage.block import Floats
from telemetry.storage.catalogue import Series
from telemetry.storage.layout import Layout
from telemetry.storage.storage import Storage

NUM_SERIES = 256
"""Series that are read together."""
NUM_ROWS = 50_000
"""Spans or log records of one row group."""

_TIME = pa.timestamp("ms", tz="UTC")
_TEXTS = pa.map_(pa.string(), pa.string())
_WHO = [(name, pa.string()) for name in ("service", "instance", "scope", "metric", "kind")]
_POINTS = pa.schema(
    [*_WHO, ("attributes", _TEXTS), ("time", _TIME), *((name, pa.float64()) for name in ("value", "low", "high"))]
)
_HISTOGRAMS = pa.schema(
    [
        *_WHO,
        ("attributes", _TEXTS),
        ("time", _TIME),
        ("sum", pa.float64()),
        ("low", pa.list_(pa.float64())),
        ("high", pa.list_(pa.float64())),
        ("counts", pa.list_(pa.int64())),
    ]
)
_SPANS = pa.schema(
    [
        *((name, pa.string()) for name in ("trace_id", "span_id", "parent_id", "service", "instance", "version")),
        *((name, pa.string()) for name in ("name", "kind", "message")),
        ("start", pa.timestamp("us", tz="UTC")),
        ("duration_s", pa.float64()),
        ("failed", pa.bool_()),
        ("attributes", _TEXTS),
    ]
)
_LOGS = pa.schema(
    [
        ("time", pa.timestamp("us", tz="UTC")),
        ("severity", pa.int32()),
        *((name, pa.string()) for name in ("severity_text", "body", "service", "instance", "trace_id", "span_id")),
        ("attributes", _TEXTS),
    ]
)


def export(storage: Storage, folder: Path, start_s: float, end_s: float) -> dict[str, int]:
    """Write what storage has of [start_s, end_s] into `folder`; returns how many rows each file has.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "points": (_POINTS, _points(storage, start_s, end_s)),
        "histograms": (_HISTOGRAMS, _histograms(storage, start_s, end_s)),
        "spans": (_SPANS, _spans(storage, start_s, end_s)),
        "logs": (_LOGS, _logs(storage, start_s, end_s)),
    }
    num_rows = dict.fromkeys(tables, 0)
    with ExitStack() as files:
        for name, (schema, parts) in tables.items():
            writer = files.enter_context(pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd"))
            for part in parts:
                writer.write_table(part)
                num_rows[name] += part.num_rows
    return num_rows


def _points(storage: Storage, start_s: float, end_s: float) -> Iterator[pa.Table]:
    found = [each for each in storage.select(start_s=start_s, end_s=end_s) if each.kind != "histogram"]
    for first in range(0, len(found), NUM_SERIES):
        of = {each.id: each for each in found[first : first + NUM_SERIES]}
        read = storage.read_many(of, start_s, end_s)
        if read:
            nums = [len(points.times) for points in read.values()]
            times, *values = (np.concatenate(column) for column in zip(*read.values(), strict=True))
            yield pa.table([*_who([of[number] for number in read], nums), _ms(times), *values], schema=_POINTS)


def _histograms(storage: Storage, start_s: float, end_s: float) -> Iterator[pa.Table]:
    for series in storage.select(start_s=start_s, end_s=end_s):
        if series.kind != "histogram":
            continue
        for layout, points in storage.read_buckets(series.id, start_s, end_s):
            num = len(points.times)
            edges = [pa.array([each] * num, pa.list_(pa.float64())) for each in _edges(layout)]
            counts = pa.array(list(points.counts), pa.list_(pa.int64()))
            yield pa.table(
                [*_who([series], [num]), _ms(points.times), points.totals, *edges, counts], schema=_HISTOGRAMS
            )


def _spans(storage: Storage, start_s: float, end_s: float) -> Iterator[pa.Table]:
    found = (
        {
            **{name: getattr(span, name) for name in _SPANS.names if name not in ("start", "attributes")},
            "start": round(span.start_s * 1e6),
            "attributes": _texts(span.attributes),
        }
        for body in storage.requests("traces", start_s, end_s)
        for span in spans.read(body)
        if start_s <= span.start_s <= end_s
    )
    while rows := list(islice(found, NUM_ROWS)):
        yield pa.Table.from_pylist(rows, schema=_SPANS)


def _logs(storage: Storage, start_s: float, end_s: float) -> Iterator[pa.Table]:
    found = (
        {
            **{name: getattr(record, name) for name in _LOGS.names if name not in ("time", "attributes")},
            "time": round(record.time_s * 1e6),
            "attributes": _texts(record.attributes),
        }
        for body in storage.requests("logs", start_s, end_s)
        for record in logs.read(body)
        if start_s <= record.time_s <= end_s
    )
    while rows := list(islice(found, NUM_ROWS)):
        yield pa.Table.from_pylist(rows, schema=_LOGS)


def _who(series: list[Series], nums: list[int]) -> list[pa.Array]:
    """What each point's series is told apart by."""
    which = pa.array(np.repeat(np.arange(len(series)), nums))
    texts = [[each.key.service, each.key.instance, each.key.scope.name, each.key.metric, each.kind] for each in series]
    columns = [pa.array(column, pa.string()) for column in zip(*texts, strict=True)]
    attributes = pa.array([_texts(each.key.attributes) for each in series], _TEXTS)
    return [column.take(which) for column in (*columns, attributes)]


def _texts(attributes: Attributes) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in attributes]


def _ms(times: Floats) -> pa.Array:
    return pa.array(np.rint(times * 1e3).astype(np.int64)).cast(_TIME)


def _edges(layout: Layout) -> tuple[list[float], list[float]]:
    """The lower and the upper edge of each bucket."""
    all_full = Buckets(
        counts=dict.fromkeys(layout.indexes, 1),
        total=0.0,
        bounds=layout.bounds,
        scale=layout.scale,
        unit=layout.unit,
    )
    cells = list(all_full.cells())
    return [low for low, _, _ in cells], [high for _, high, _ in cells]
