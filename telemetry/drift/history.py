"""What was counted of a model's rows in some stretch of the past, out of storage: all replicas together, over time."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from telemetry import conventions as names
from telemetry.drift.distribution import Kind
from telemetry.drift.observed import Observed, observed
from telemetry.series.distribution import Buckets
from telemetry.storage.catalogue import Series
from telemetry.storage.storage import Storage

NUM_STRETCHES = 24
"""Parts that the range is told in."""
BEFORE_S = 3600.0
"""So long before the range a total is looked for, that what came in the range is counted from."""


@dataclass(kw_only=True)
class Counted:
    """One distribution, share or segment of one version."""

    version: str
    metric: str
    name: str
    kind: Kind
    reference: tuple[int, ...]
    bounds: tuple[float, ...]
    segment: tuple[str, str] | None
    counts: NDArray[np.int64]
    """[stretches, bins]"""

    @property
    def total(self) -> NDArray[np.int64]:
        """Rows in each bin over the whole range."""
        whole: NDArray[np.int64] = self.counts.sum(axis=0)
        return whole


@dataclass(kw_only=True)
class History:
    """All that was counted of a model in a range."""

    service: str
    start_s: float
    end_s: float
    counted: list[Counted] = field(default_factory=list)
    problems: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """Rows by version, column and problem."""

    @property
    def versions(self) -> list[str]:
        """Those that rows were counted of, the newest first."""
        found = {each.version for each in self.counted if each.counts.any()}
        return sorted(found, key=lambda version: (len(version), version), reverse=True)


def read(storage: Storage, service: str, start_s: float, end_s: float) -> History:
    """What storage has of the rows of `service` in [start_s, end_s]."""
    history = History(service=service, start_s=start_s, end_s=end_s)
    found: dict[tuple[object, ...], Counted] = {}
    edges = np.linspace(start_s, end_s, NUM_STRETCHES + 1)
    for metric in (names.DRIFT_ROWS.name, names.FIDELITY_ROWS.name, names.ACCURACY_ROWS.name):
        for series in storage.select(metric, service=service, start_s=start_s, end_s=end_s):
            for seen, counts in _stretches(storage, series, edges):
                key = (seen.version, metric, seen.name, seen.kind, seen.reference, seen.bounds, seen.segment)
                if key not in found:
                    found[key] = Counted(
                        version=seen.version,
                        metric=metric,
                        name=seen.name,
                        kind=seen.kind,
                        reference=seen.reference,
                        bounds=seen.bounds,
                        segment=seen.segment,
                        counts=np.zeros_like(counts),
                    )
                found[key].counts += counts
    history.counted = list(found.values())
    for series in storage.select(names.DATA_PROBLEMS.name, service=service, start_s=start_s, end_s=end_s):
        said = dict(series.key.attributes)
        key3 = (
            str(said.get(names.MODEL_VERSION, "")),
            str(said.get(names.WATCHED, "")),
            str(said.get(names.DATA_PROBLEM, "")),
        )
        times, totals = storage.read(series.id, start_s - BEFORE_S, end_s)[:2]
        if len(times):
            history.problems[key3] = history.problems.get(key3, 0) + int(_since(times, totals, edges)[-1])
    return history


def _stretches(
    storage: Storage, series: Series, edges: NDArray[np.float64]
) -> Iterator[tuple[Observed, NDArray[np.int64]]]:
    """What one series counted in each stretch, [stretches, bins], for each layout that it had."""
    for layout, (times, counts, _) in storage.read_buckets(series.id, edges[0] - BEFORE_S, edges[-1]):
        seen = observed(series.key.attributes, "", Buckets(counts={}, total=0.0, bounds=layout.bounds))
        if seen is None or not len(times):
            continue
        columns = [np.diff(_since(times, counts[:, bin_].astype(np.float64), edges)) for bin_ in range(counts.shape[1])]
        yield seen, np.stack(columns, axis=1).astype(np.int64)


def _since(times: NDArray[np.float64], totals: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much a total had grown at each edge since the first: what is known last before it, 0 before all."""
    known = np.concatenate([[0.0], totals])[np.searchsorted(times, edges, side="right")]
    risen: NDArray[np.float64] = known - known[0]
    return risen
