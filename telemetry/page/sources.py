"""Where what the page shows comes from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from telemetry.page.grid import MAX_POINTS
from telemetry.series.service import Service
from telemetry.series.store import SeriesStore
from telemetry.series.traces import SpanStore
from telemetry.storage.storage import Storage
from telemetry.watching.alerts import AlertBook

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the data is."""

    services: Mapping[str, Service]
    series: SeriesStore
    alerts: AlertBook
    spans: SpanStore
    storage: Storage
    clock: Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Range:
    """Which times are shown, Unix seconds, and what they are compared with."""

    since_s: float
    until_s: float
    compare_s: float | None = None
    """How much earlier the range lies that is drawn beside it."""
    max_points: int = MAX_POINTS

    def is_live(self, now_s: float) -> bool:
        """Whether it ends now, so that its last values are the values now."""
        return now_s - self.until_s < 1.0
