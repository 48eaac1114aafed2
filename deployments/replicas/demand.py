"""What a replica tells Ray's controller of its load, read off what it counts for telemetry anyway."""

import math
import time
from collections.abc import Callable

from opentelemetry.sdk.metrics.export import HistogramDataPoint

from telemetry import conventions
from telemetry.conventions import Instrument
from telemetry.emitting.emitter import Emitter
from telemetry.series.distribution import Buckets, Distribution

TOO_MANY_REQUESTS = 429

ONGOING = "running_requests"
"""Ray's own name for the requests of a replica: it does not see those that take the fast path past its wrapper."""

_IN_A_CALL = (conventions.INFERENCE_DURATION, conventions.BATCH_DURATION, conventions.RAW_DURATION)
"""What a call of the model consists of."""


class Demand:
    """Reads what has happened since it last read."""

    def __init__(self, emitter: Emitter, ongoing: Callable[[], int], *, num_cpus: int) -> None:
        self._histograms = {
            instrument: emitter.histogram(instrument)
            for instrument in (conventions.REQUEST_DURATION, conventions.QUEUE_DURATION, *_IN_A_CALL)
        }
        self._ongoing = ongoing
        self._ongoing_before = 0
        self._num_cpus = num_cpus
        self._before: dict[tuple[str, frozenset[tuple[str, object]]], Buckets] = {}
        self._read_s = time.monotonic()
        self._cpu_s = time.process_time()

    def read(self) -> dict[str, float]:
        """Ongoing requests; requests per second that came and that were answered; the busy share of the replica's time;
        the mean wait for a batch and the 95th percentile of latency, in seconds.

        Requests that were refused for want of room came and were not answered.

        Busy is the model or the process's CPUs, whichever is more: a small model's replica spends its time on HTTP.
        """
        now_s, cpu_s = time.monotonic(), time.process_time()
        elapsed_s = max(1e-3, now_s - self._read_s)
        called_s = sum(self._since(instrument).total for instrument in _IN_A_CALL)
        waited = self._since(conventions.QUEUE_DURATION)
        answered = self._since(conventions.REQUEST_DURATION, lambda status: status != TOO_MANY_REQUESTS)
        refused = self._since(conventions.REQUEST_DURATION, lambda status: status == TOO_MANY_REQUESTS)
        busy = max(called_s / elapsed_s, (cpu_s - self._cpu_s) / elapsed_s / self._num_cpus)
        ongoing = self._ongoing()
        came = answered.num_values + refused.num_values + ongoing - self._ongoing_before
        self._read_s, self._cpu_s, self._ongoing_before = now_s, cpu_s, ongoing
        self._before = {
            (instrument.name, frozenset((point.attributes or {}).items())): _buckets(point)
            for instrument in self._histograms
            for point in self._points(instrument)
        }
        return {
            ONGOING: float(ongoing),
            "came_per_s": max(0, came) / elapsed_s,
            "answered_per_s": answered.num_values / elapsed_s,
            "busy": busy,
            "queue_s": _number(waited.mean()),
            "latency_s": _number(answered.quantiles(0.95)[0]),
        }

    def _since(self, instrument: Instrument, wanted: Callable[[object], bool] = lambda _: True) -> Distribution:
        """The values since the last reading, of requests whose status is wanted; what reads a model, not what acts."""
        found = Distribution()
        for point in self._points(instrument):
            attributes = point.attributes or {}
            before = self._before.get((instrument.name, frozenset(attributes.items())))
            buckets = _buckets(point)
            since = buckets.since(before) if before else buckets
            is_other = attributes.get(conventions.METHOD, "POST") != "POST"
            if since and not is_other and wanted(attributes.get(conventions.STATUS_CODE)):
                found.add(since)
        return found

    def _points(self, instrument: Instrument) -> list[HistogramDataPoint]:
        return self._histograms[instrument].lifetime()


def _buckets(point: HistogramDataPoint) -> Buckets:
    counts = {index: count for index, count in enumerate(point.bucket_counts) if count}
    return Buckets(counts=counts, total=point.sum, bounds=tuple(point.explicit_bounds))


def _number(value: float) -> float:
    return 0.0 if math.isnan(value) else value
