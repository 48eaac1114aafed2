"""What storage holds, under Prometheus' names: the `Source` of the collector's queries."""

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from telemetry.queries.buckets import cumulative
from telemetry.queries.histograms import LE
from telemetry.queries.labels import NAME, Labels, labels_of, nameless
from telemetry.queries.matching import Matcher, matching, name_of
from telemetry.queries.naming import INSTRUMENTS, JOB, labels_for, metadata_of, metric_name
from telemetry.queries.source import Linked, Metadata
from telemetry.queries.values_text import number_text
from telemetry.queries.vectors import Floats, Ints, Series
from telemetry.storage import catalogue
from telemetry.storage.exemplars import Exemplar
from telemetry.storage.storage import Storage

BUCKET, SUM, COUNT = "_bucket", "_sum", "_count"
RECENT_MS = 600_000
"""Within how much of a range's end the bounds of a histogram are looked for."""
NAMED_AGAIN_S = 5.0
"""How old the list of metrics may be."""
MAX_LABELLED = 200_000
MAX_EXEMPLARS = 10_000
"""That one answer looks at, the latest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A series of storage and its labels."""

    id: int
    kind: catalogue.Kind
    labels: Labels
    """Of a histogram, without the suffix of its name."""


class RecordedSeries:
    """Series of one storage; `units` says what other senders' metrics are measured in, as far as they said."""

    def __init__(self, storage: Storage, units: Mapping[str, str]) -> None:
        self._storage = storage
        self._units = units
        self._found: dict[int, Found] = {}
        self._named: dict[str, None] = {}
        self._named_s = -math.inf

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        """Those that fulfil all matchers, with their samples in the range."""
        found = self._matching(matchers, start_ms, end_ms)
        numbers = [each for each in found if each.kind != "histogram"]
        points = self._storage.read_many([each.id for each in numbers], start_ms / 1e3, end_ms / 1e3)
        series = [
            Series(labels=each.labels, times_ms=_ms(points[each.id].times), values=points[each.id].values)
            for each in numbers
            if each.id in points
        ]
        histograms = [each for each in found if each.kind == "histogram"]
        wanted = name_of(matchers)
        exploded = list(self._exploded(histograms, wanted, start_ms, end_ms))
        fits = matching([part.labels for part in exploded], matchers)
        series += [part for part, fit in zip(exploded, fits, strict=True) if fit]
        return _joined(series)

    def labels(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """Of those that may have samples in the range."""
        found = self._matching(matchers, start_ms, end_ms)
        labels = dict.fromkeys(each.labels for each in found if each.kind != "histogram")
        histograms = [each for each in found if each.kind == "histogram"]
        since_ms = max(start_ms, end_ms - RECENT_MS)
        wanted = name_of(matchers)
        exploded = [part.labels for part in self._exploded(histograms, wanted, since_ms, end_ms)]
        fits = matching(exploded, matchers)
        labels |= dict.fromkeys(each for each, fit in zip(exploded, fits, strict=True) if fit)
        return list(labels)

    def exemplars(self, selectors: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int) -> list[Linked]:
        """Those of the series that fulfil all matchers of any selector, the latest first."""
        latest = islice(self._storage.exemplars(start_ms / 1e3, end_ms / 1e3), MAX_EXEMPLARS)
        found = [self._linked(each) for each in latest]
        labels = [each.labels for each in found]
        fits = np.zeros(len(found), np.bool_)
        for matchers in selectors:
            fits |= np.array(matching(labels, matchers), np.bool_)
        return [each for each, fit in zip(found, fits, strict=True) if fit]

    def _linked(self, exemplar: Exemplar) -> Linked:
        kind: catalogue.Kind = "counter" if exemplar.le is None else "histogram"
        name = self.name(exemplar.key.metric, kind)
        labels = labels_for(exemplar.key, name if exemplar.le is None else name + BUCKET)
        if exemplar.le is not None:
            labels = labels_of([*labels, (LE, number_text(exemplar.le))])
        return Linked(
            labels=labels,
            time_ms=round(exemplar.time_s * 1e3),
            value=exemplar.value,
            trace_id=exemplar.trace_id,
            span_id=exemplar.span_id,
        )

    def metadata(self) -> Mapping[str, Metadata]:
        """By Prometheus' name."""
        series = self._storage.select()
        return {
            self.name(each.key.metric, each.kind): metadata_of(each.key.metric, self.unit(each.key.metric), each.kind)
            for each in series
        }

    def unit(self, metric: str) -> str:
        """What a metric is measured in; empty where that is not known."""
        return INSTRUMENTS[metric].unit if metric in INSTRUMENTS else self._units.get(metric, "")

    def name(self, metric: str, kind: catalogue.Kind) -> str:
        """A metric's name for Prometheus."""
        return metric_name(metric, self.unit(metric), kind)

    def _matching(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Found]:
        """Series that may fulfil the matchers; of histograms the suffixes and `le` are looked at later."""
        service = next((each.value for each in matchers if each.name == JOB and each.op == "=" and each.value), None)
        found = [
            self._known(each)
            for metric in self._metrics(name_of(matchers))
            for each in self._storage.select(metric, service=service, start_s=start_ms / 1e3, end_s=end_ms / 1e3)
        ]
        whole = [each for each in matchers if each.name not in (LE, NAME)]
        fits = matching([each.labels for each in found], whole)
        kept = [each for each, fit in zip(found, fits, strict=True) if fit]
        named = [each for each in matchers if each.name == NAME]
        return [
            each
            for each, fit in zip(kept, matching([each.labels for each in kept], named), strict=True)
            if fit or each.kind == "histogram"
        ]

    def _metrics(self, wanted: str | None) -> Collection[str | None]:
        """The metrics that may have this Prometheus name; None, which is all, where none is named."""
        if wanted is None:
            return (None,)
        if time.monotonic() - self._named_s > NAMED_AGAIN_S:
            self._named_s = time.monotonic()
            self._named = {each.key.metric: None for each in self._storage.select()}
        names = {wanted, *(wanted.removesuffix(suffix) for suffix in (BUCKET, SUM, COUNT))}
        return [metric for metric in self._named if any(self.name(metric, kind) in names for kind in catalogue.KINDS)]

    def _known(self, series: catalogue.Series) -> Found:
        known = self._found.get(series.id)
        name = self.name(series.key.metric, series.kind)
        if known is None or (NAME, name) not in known.labels:
            if len(self._found) >= MAX_LABELLED:
                self._found.clear()
            known = Found(id=series.id, kind=series.kind, labels=labels_for(series.key, name))
            self._found[series.id] = known
        return known

    def _exploded(self, found: Sequence[Found], wanted: str | None, start_ms: int, end_ms: int) -> Iterator[Series]:
        """Histograms' buckets, sums and counts; those that have the name `wanted`, if any is."""
        parts = {each.id: (dict(each.labels)[NAME], nameless(each.labels)) for each in found}
        if wanted is not None:
            parts = {
                number: (name, labels)
                for number, (name, labels) in parts.items()
                if wanted in (name + BUCKET, name + SUM, name + COUNT)
            }
        if not parts:
            return
        for number, totals in self._storage.read_many_buckets(parts, start_ms / 1e3, end_ms / 1e3).items():
            name, labels = parts[number]
            for each in cumulative(totals):
                if wanted in (None, name + BUCKET):
                    for bound, counts in zip(each.bounds, each.counts.T, strict=True):
                        bucket = labels_of([*labels, (NAME, name + BUCKET), (LE, number_text(float(bound)))])
                        yield Series(labels=bucket, times_ms=each.times_ms, values=counts)
                for suffix, values in ((SUM, each.sums), (COUNT, each.counts[:, -1])):
                    if wanted in (None, name + suffix):
                        whole = labels_of([*labels, (NAME, name + suffix)])
                        yield Series(labels=whole, times_ms=each.times_ms, values=values)


def _joined(series: Sequence[Series]) -> list[Series]:
    """Those with the same labels made one, each time once: a histogram whose bounds changed, names that became one."""
    alike: dict[Labels, list[Series]] = {}
    for each in series:
        alike.setdefault(each.labels, []).append(each)
    return [parts[0] if len(parts) == 1 else _one(labels, parts) for labels, parts in alike.items()]


def _one(labels: Labels, parts: Sequence[Series]) -> Series:
    times_ms = np.concatenate([part.times_ms for part in parts])
    values = np.concatenate([part.values for part in parts])
    times_ms, first = np.unique(times_ms, return_index=True)
    return Series(labels=labels, times_ms=times_ms, values=values[first])


def _ms(times: Floats) -> Ints:
    return np.rint(times * 1e3).astype(np.int64)
