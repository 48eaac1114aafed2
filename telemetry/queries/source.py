"""Where queries read from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from telemetry.queries.labels import Labels
from telemetry.queries.matching import Matcher
from telemetry.queries.vectors import Series

MetricType = Literal["counter", "gauge", "histogram", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What is known of a metric."""

    type: MetricType
    help: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """A value of a series, and where in a trace it was measured."""

    labels: Labels
    """Of the series; of a histogram, of the bucket that the value lies in."""
    time_ms: int
    value: float
    trace_id: str
    span_id: str


class Source(Protocol):
    """Series under Prometheus' names; times in Unix milliseconds, both ends included."""

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        """Those that fulfil all matchers and have samples in the range, with these samples."""
        ...

    def labels(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """The labels of those that may have samples in the range."""
        ...

    def exemplars(self, selectors: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int) -> list[Linked]:
        """Those of the series that fulfil all matchers of any selector; no more than may be looked at."""
        ...

    def metadata(self) -> Mapping[str, Metadata]:
        """By metric."""
        ...
