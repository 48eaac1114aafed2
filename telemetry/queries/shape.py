"""Answers as Prometheus' HTTP API says them (https://prometheus.io/docs/prometheus/latest/querying/api/#expression-query-result-formats)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from telemetry.queries.engine import Answer
from telemetry.queries.labels import Labels
from telemetry.queries.source import Linked
from telemetry.queries.values_text import number_text
from telemetry.queries.vectors import Bools, Floats, Ints, Vector

Json = dict[str, Any]


def data(answer: Answer) -> Json:
    """`{resultType, result}`."""
    return {"resultType": answer.kind, "result": _result(answer)}


def exemplars(found: Sequence[Linked]) -> list[Json]:
    """`[{seriesLabels, exemplars: [{labels: {trace_id, span_id}, value, timestamp}]}]`, by their time."""
    by_series: dict[Labels, list[Json]] = {}
    for each in sorted(found, key=lambda one: one.time_ms):
        by_series.setdefault(each.labels, []).append(
            {
                "labels": {"trace_id": each.trace_id, "span_id": each.span_id},
                "value": number_text(each.value),
                "timestamp": each.time_ms / 1e3,
            }
        )
    return [{"seriesLabels": dict(labels), "exemplars": by_series[labels]} for labels in sorted(by_series)]


def _result(answer: Answer) -> Any:
    steps_ms, value = answer.steps_ms, answer.value
    match answer.kind:
        case "string":
            return [_seconds(steps_ms[0]), value]
        case "scalar":
            assert isinstance(value, np.ndarray)
            return _pair(steps_ms[0], value[0])
        case "vector":
            assert isinstance(value, Vector)
            present = np.flatnonzero(value.present[:, 0])
            return [
                {"metric": dict(value.labels[row]), "value": _pair(steps_ms[0], value.values[row, 0])}
                for row in present
            ]
    if isinstance(value, list):
        return [_series(each.labels, each.times_ms, each.values) for each in value]
    if isinstance(value, Vector):
        rows = [
            _stepped(labels, steps_ms, values, present)
            for labels, values, present in zip(value.labels, value.values, value.present, strict=True)
            if present.any()
        ]
        return sorted(rows, key=lambda row: sorted(row["metric"].items()))
    assert isinstance(value, np.ndarray)
    return [_series((), steps_ms, value)]


def _stepped(labels: Labels, steps_ms: Ints, values: Floats, present: Bools) -> Json:
    return _series(labels, steps_ms[present], values[present])


def _series(labels: Labels, times_ms: Ints, values: Floats) -> Json:
    return {"metric": dict(labels), "values": [_pair(*each) for each in zip(times_ms, values, strict=True)]}


def _pair(time_ms: np.int64, value: np.float64) -> list[float | str]:
    return [_seconds(time_ms), number_text(float(value))]


def _seconds(time_ms: np.int64) -> float:
    whole, rest = divmod(int(time_ms), 1000)
    return whole + rest / 1000 if rest else whole
