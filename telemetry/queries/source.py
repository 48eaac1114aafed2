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


class Source(Protocol):
    """Series under Prometheus' names; times in Unix milliseconds, both ends included."""

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        """Those that fulfil all matchers and have samples in the range, with these samples."""
        ...

    def labels(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """The labels of those that may have samples in the range."""
        ...

    def metadata(self) -> Mapping[str, Metadata]:
        """By metric."""
        ...
