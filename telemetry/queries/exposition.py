"""The latest value of every series, for Prometheus to scrape; written by Prometheus' own Python client.

Only what came since the last scrape is read, and what has not come for five minutes is left out.
"""

import asyncio
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import Metric, exposition
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry.queries.histograms import LE
from telemetry.queries.labels import NAME, Labels
from telemetry.queries.matching import Matcher
from telemetry.queries.recorded import BUCKET, COUNT, SUM
from telemetry.queries.source import Metadata, Source

STALE_MS = 300_000
OVERLAP_MS = 60_000
"""What a sender's clock may be behind, and its points still be found by the next scrape."""
_EVERYTHING = [Matcher(name=NAME, op="!=", value="")]
_TYPES = {"counter": "counter", "gauge": "gauge", "histogram": "histogram", "unknown": "unknown"}
_SUFFIXES = (BUCKET, SUM, COUNT)


class Exposition:
    """What `/metrics` says."""

    def __init__(self, source: Source, clock: Callable[[], float]) -> None:
        self._source = source
        self._clock = clock
        self._reading = threading.Lock()
        self._latest: dict[Labels, tuple[int, float]] = {}
        self._read_ms = 0

    def route(self) -> Route:
        """`/metrics`."""

        async def scrape(request: Request) -> Response:
            body, content_type = await asyncio.to_thread(self.text, request.headers.get("accept", ""))
            return Response(body, headers={"content-type": content_type})

        return Route("/metrics", scrape)

    def text(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type: OpenMetrics where the scraper takes it, else Prometheus' older format."""
        is_openmetrics = "application/openmetrics-text" in accept
        with self._reading:
            self._read()
            registry = _Families(list(self._families()))
        if is_openmetrics:
            text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]  # its own typing
            return text, openmetrics.CONTENT_TYPE_LATEST
        return exposition.generate_latest(registry), exposition.CONTENT_TYPE_PLAIN_0_0_4

    def _read(self) -> None:
        """Take in what came since the last time."""
        now_ms = round(self._clock() * 1e3)
        since_ms = max(self._read_ms - OVERLAP_MS, now_ms - STALE_MS)
        for series in self._source.select(_EVERYTHING, since_ms, now_ms + OVERLAP_MS):
            if len(series.values):
                self._latest[series.labels] = int(series.times_ms[-1]), float(series.values[-1])
        self._read_ms = now_ms
        self._latest = {labels: latest for labels, latest in self._latest.items() if latest[0] >= now_ms - STALE_MS}

    def _families(self) -> Iterator[Metric]:
        """The series by metric, those of a histogram together."""
        known = self._source.metadata()
        named = {labels: _family(dict(labels)[NAME], known) for labels in self._latest}
        families: dict[str, Metric] = {}
        for labels in sorted(self._latest, key=lambda each: (named[each], _order(each))):
            family = named[labels]
            if family not in families:
                families[family] = _metric(family, known.get(family) or Metadata(type="unknown"))
            attributes = {key: value for key, value in labels if key != NAME}
            families[family].add_sample(dict(labels)[NAME], attributes, self._latest[labels][1])
        yield from families.values()


class _Families(Collector):
    """What the client's writers ask for metrics."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def _family(name: str, known: Mapping[str, Metadata]) -> str:
    """The metric that a series is of: a histogram's have suffixes."""
    if name in known:
        return name
    return next((base for suffix in _SUFFIXES if (base := name.removesuffix(suffix)) != name and base in known), name)


def _order(labels: Labels) -> tuple[object, ...]:
    """A histogram's buckets by their bound, then its sum and count, before the next one's: as OpenMetrics asks."""
    name = dict(labels)[NAME]
    bound = float(dict(labels).get(LE, "inf")) if name.endswith(BUCKET) else math.inf
    suffix = next((place for place, each in enumerate(_SUFFIXES) if name.endswith(each)), 0)
    return tuple(pair for pair in labels if pair[0] not in (LE, NAME)), suffix, bound


def _metric(name: str, metadata: Metadata) -> Metric:
    base = name.removesuffix("_total") if metadata.type == "counter" else name
    return Metric(base, metadata.help, _TYPES[metadata.type])
