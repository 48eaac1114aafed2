"""Exemplars: values that stand for others of their series, each with the trace that it is of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from telemetry.series.stream import Key
from telemetry.storage.catalogue import key_of, text_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """One value of a series."""

    key: Key
    le: float | None
    """The upper bound of the bucket of its histogram that it lies in; None of a number."""
    time_s: float
    value: float
    trace_id: str
    span_id: str


def encoded(exemplars: Sequence[Exemplar]) -> bytes:
    """As storage keeps them."""
    return orjson.dumps(
        [(text_of(each.key), repr(each.le), each.time_s, each.value, each.trace_id, each.span_id) for each in exemplars]
    )


def decoded(body: bytes) -> Iterator[Exemplar]:
    """What `encoded` made bytes of."""
    for text, le, time_s, value, trace_id, span_id in orjson.loads(body):
        yield Exemplar(
            key=key_of(text),
            le=None if le == "None" else float(le),
            time_s=time_s,
            value=value,
            trace_id=trace_id,
            span_id=span_id,
        )
