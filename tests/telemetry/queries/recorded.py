"""The same series for us and for Prometheus: an hour of counters that restart, gauges with gaps, histograms."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from telemetry.queries.labels import Labels, labels_of
from telemetry.queries.matching import Matcher, matching
from telemetry.queries.source import Linked, Metadata
from telemetry.queries.vectors import Series

BEGIN_S = 1_700_000_000
NUM = 240
"""Samples of each series, about 15 s apart."""


class RecordedSeries:
    """Series in memory, as `telemetry.queries.source.Source`."""

    def __init__(self, series: Sequence[Series], metadata: Mapping[str, Metadata] | None = None) -> None:
        self.series = list(series)
        self._metadata = metadata or {}

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        fits = matching([each.labels for each in self.series], matchers)
        found = []
        for each in (each for each, fit in zip(self.series, fits, strict=True) if fit):
            inside = (each.times_ms >= start_ms) & (each.times_ms <= end_ms)
            found.append(Series(labels=each.labels, times_ms=each.times_ms[inside], values=each.values[inside]))
        return found

    def labels(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        return [each.labels for each in self.select(matchers, start_ms, end_ms) if len(each.values)]

    def exemplars(self, selectors, start_ms: int, end_ms: int) -> list[Linked]:
        return []

    def metadata(self) -> Mapping[str, Metadata]:
        return self._metadata


def _series(
    name: str, values: np.ndarray, rng: np.random.Generator, keep: np.ndarray | None = None, **labels: str
) -> Series:
    times_ms = (BEGIN_S * 1000 + np.arange(NUM) * 15_000 + rng.integers(0, 500, NUM)).astype(np.int64)
    keep = np.ones(NUM, bool) if keep is None else keep
    pairs = labels_of([("__name__", name), *labels.items()])
    return Series(labels=pairs, times_ms=times_ms[keep], values=values.astype(np.float64)[keep])


def an_hour() -> list[Series]:
    """Of two services on two instances each."""
    rng = np.random.default_rng(14)
    series = []
    index = np.arange(NUM)
    for service in ("digits", "texts"):
        for number, instance in enumerate(("a", "b")):
            who = {"service": service, "instance": instance}
            for code in ("200", "404", "500"):
                steps = rng.poisson({"200": 30, "404": 2, "500": 0.5}[code], NUM).astype(float)
                total = np.cumsum(steps)
                if number:  # it restarts
                    total[120:] -= total[119]
                series.append(_series("requests_total", total, rng, code=code, **who))
            memory = 1e8 + 1e5 * index * (number + 1) + rng.normal(0, 1e5, NUM).round()
            away = (index < 60) | (index >= 100) if instance == "b" else None
            series.append(_series("memory_bytes", memory, rng, away, **who))
            series.append(_series("build_info", np.ones(NUM), rng, version=f"1.{number}", **who))
            seconds = rng.lognormal(-3, 1, (NUM, 40))
            for bound in (0.01, 0.05, 0.1, 0.5, 1.0, np.inf):
                le = "+Inf" if np.isinf(bound) else str(bound)
                counts = np.cumsum((seconds <= bound).sum(axis=1))
                series.append(_series("latency_seconds_bucket", counts, rng, le=le, **who))
            series.append(_series("latency_seconds_sum", np.cumsum(seconds.sum(axis=1)), rng, **who))
            series.append(_series("latency_seconds_count", np.cumsum(np.full(NUM, 40.0)), rng, **who))
        wave = 20 * np.sin(index / 20) + rng.normal(0, 1, NUM)
        wave[50:53] = np.nan
        series.append(_series("temperature", wave, rng, service=service))
    return series


def openmetrics(series: Sequence[Series]) -> Iterator[str]:
    """The series as `promtool tsdb create-blocks-from openmetrics` takes them."""
    names = sorted({dict(each.labels)["__name__"] for each in series})
    for name in names:
        yield f"# TYPE {name} unknown"
        for each in (each for each in series if dict(each.labels)["__name__"] == name):
            labels = ",".join(f'{key}="{value}"' for key, value in each.labels if key != "__name__")
            for time_ms, value in zip(each.times_ms, each.values, strict=True):
                yield f"{name}{{{labels}}} {float(value)!r} {time_ms / 1000:.3f}"
    yield "# EOF"
