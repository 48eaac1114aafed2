"""Reports a process by OTLP/gRPC: counted in place, exported in bulk, spans only for the sampled requests.

    record()/add()/set() -> bucket arrays of this process -> every interval one MetricsData -> OTLPMetricExporter
    span()               -> SDK tracer, only if sampled   -> BatchSpanProcessor             -> OTLPSpanExporter

The OpenTelemetry SDK's own instruments cost some 8 µs a call; a bucket array behind a lock costs 0.4. Totals are
cumulative, so an export that fails loses nothing: the next one carries it. Nothing that goes wrong here reaches the
process that is reported.
"""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import export as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.conventions import (
    ERROR_TYPE,
    HOST_NAME,
    OWN_NAMESPACE,
    PROCESS_PID,
    ROLE,
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    SERVICE_VERSION,
    TELEMETRY_FAILURES,
    TELEMETRY_SOURCE,
    Instrument,
)
from telemetry.emitting.counter import Counter
from telemetry.emitting.data_points import CUMULATIVE, Attributes, numbers
from telemetry.emitting.gauge import Gauge
from telemetry.emitting.histogram import Histogram
from telemetry.emitting.spans import Spans, is_sampled
from telemetry.failures import Failures

logger = logging.getLogger(__name__)

EXPORT_TIMEOUT_S = 3.0
SHUTDOWN_S = 5.0
"""Longest that `shutdown` waits, whatever an observer or the network does."""
MAX_ENDED_VERSIONS = 8
"""Versions whose last totals are kept while no collector answers."""
_ONE_TRY_S = 0.7
"""A timeout that the SDK tries an export once in: it waits for 0.8 s or more before it tries again."""
_SCOPE = InstrumentationScope("trimtab")

_Kind = TypeVar("_Kind", Counter, Gauge, Histogram)


class Emitter:
    """Reports one process under one resource.

    The endpoint, its TLS and its headers are the SDK's own settings (`OTEL_EXPORTER_OTLP_ENDPOINT`, ...), unless
    `endpoint` is given; they default to the collector on this host, http://localhost:4317.
    """

    def __init__(
        self,
        *,
        service: str,
        version: str,
        role: str,
        instance: str,
        endpoint: str | None = None,
        interval_s: float = 1.0,
        trace_ratio: float = 0.01,
    ) -> None:
        self.resource = Resource.create(
            {
                SERVICE_NAME: service,
                SERVICE_NAMESPACE: OWN_NAMESPACE,
                SERVICE_VERSION: version,
                SERVICE_INSTANCE_ID: instance,
                ROLE: role,
                HOST_NAME: socket.gethostname(),
                PROCESS_PID: os.getpid(),
            }
        )
        self._interval_s = interval_s
        self.trace_ratio = trace_ratio
        self._began_ns = self._start_ns = time.time_ns()
        """When the process began to count, and when the version it serves did."""
        self._totals: dict[str, Counter | Histogram] = {}
        self._gauges: dict[str, Gauge] = {}
        self._ended: deque[otel.ResourceMetrics] = deque(maxlen=MAX_ENDED_VERSIONS)
        """Last totals of versions that are no longer served, until they are delivered."""
        self._lock = threading.Lock()
        """Held while totals are read or restarted, so that an export never mixes two versions."""
        self._failures = Failures(logger)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._delivered = True
        self._has_collector: bool | None = None
        """Whether one has answered so far; none before the first export has ended."""
        self._endpoint = endpoint
        self._exporter = OTLPMetricExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
        # The SDK logs each failed export; `_export` says it once.
        logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").setLevel(logging.CRITICAL)
        self._spans = Spans(self.resource, endpoint=endpoint, timeout_s=EXPORT_TIMEOUT_S, interval_s=interval_s)

    def serves(self, version: str) -> None:
        """Report as `version` from now on: what the one before has counted goes out a last time, and totals start at
        zero, with a start time of their own.
        """
        with self._lock:
            now_ns = max(time.time_ns(), self._start_ns + 1)
            last = _metrics((each.instrument, each.restart(self._start_ns, now_ns)) for each in self._totals.values())
            if last:
                self._ended.append(_under(self.resource, last))
            self._start_ns = now_ns
            self.resource = self.resource.merge(Resource({SERVICE_VERSION: version}))
        self._spans.report_as(self.resource)

    def counter(self, instrument: Instrument) -> Counter:
        """The counter for `instrument`, the same one each time."""
        return _known(self._totals, Counter(instrument))

    def histogram(self, instrument: Instrument) -> Histogram:
        """The histogram for `instrument`, the same one each time."""
        return _known(self._totals, Histogram(instrument))

    def gauge(self, instrument: Instrument, observe: Callable[[], Mapping[Attributes, float]] | None = None) -> Gauge:
        """The gauge for `instrument`, the same one each time; `observe`, if given, gives the values at each export.

        An `observe` that raises leaves out this gauge alone.
        """
        return _known(self._gauges, Gauge(instrument, observe))

    def sampled(self, traceparent: str | None) -> bool:
        """Whether a request gets spans: as its caller decided (W3C Trace Context), else by the sampling ratio."""
        return is_sampled(traceparent, self.trace_ratio)

    def span(
        self,
        name: str,
        *,
        start_ns: int,
        end_ns: int,
        traceparent: str | None = None,
        attributes: Mapping[str, str | int | float | bool],
        error: str | None = None,
        children: Iterable[tuple[str, int, int]] = (),
    ) -> None:
        """Report a server span that has ended, as a child of `traceparent`, with `(name, start, end)` children."""
        self._spans.add(
            name,
            start_ns=start_ns,
            end_ns=end_ns,
            traceparent=traceparent,
            attributes=attributes,
            error=error,
            children=children,
        )

    def start(self) -> None:
        """Begin to export every interval."""
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def shutdown(self) -> None:
        """Export once more and stop, within `SHUTDOWN_S`; what the collector does not take by then is lost.

        Where no collector has ever answered, it is tried once and not waited for.
        """
        self._stopping.set()
        if self._has_collector is False:
            with self._failures.contained("ending an export that is being tried again"):
                self._exporter.shutdown()
        if self._thread is None:
            self.start()
        assert self._thread is not None, "it was just started"
        self._thread.join(SHUTDOWN_S)
        if self._thread.is_alive():
            logger.warning("telemetry did not end within %g s: its last totals may be lost", SHUTDOWN_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            self._export()
        if self._has_collector is False:
            self._exporter = OTLPMetricExporter(endpoint=self._endpoint, timeout=_ONE_TRY_S)
        self._export()
        for ended in (self._exporter, self._spans):
            with self._failures.contained("ending telemetry"):
                ended.shutdown()

    def _export(self) -> None:
        delivered = False
        with self._failures.contained("an export of telemetry"):
            ended = list(self._ended)
            result = self._exporter.export(otel.MetricsData([*ended, self._now()]))
            delivered = result is otel.MetricExportResult.SUCCESS
            for each in ended if delivered else ():
                self._ended.remove(each)
        self._has_collector = self._has_collector or delivered
        if delivered is not self._delivered:
            self._delivered = delivered
            if delivered:
                logger.info("the OTLP collector answers again")
            else:
                logger.warning("no OTLP collector answers at %s; counting goes on", self._exporter._endpoint)

    def _now(self) -> otel.ResourceMetrics:
        with self._lock:
            resource, start_ns, now_ns = self.resource, self._start_ns, time.time_ns()
            reported = [(each.instrument, each.data(start_ns, now_ns)) for each in list(self._totals.values())]
        for gauge in list(self._gauges.values()):
            with self._failures.contained(f"observing {gauge.instrument.name}"):
                reported.append((gauge.instrument, gauge.data(start_ns, now_ns)))
        reported.append((TELEMETRY_FAILURES, self._num_failures(now_ns)))
        return _under(resource, _metrics(reported))

    def _num_failures(self, now_ns: int) -> otel.DataT:
        counts: dict[Attributes, float] = {
            ((TELEMETRY_SOURCE, name), (ERROR_TYPE, error)): count
            for (name, error), count in self._failures.counts.items()
        }
        return otel.Sum(numbers(counts, self._began_ns, now_ns), CUMULATIVE, is_monotonic=True)


def _known(instruments: dict[str, Any], new: _Kind) -> _Kind:
    assert new.instrument.kind in new.kinds
    known = instruments.setdefault(new.instrument.name, new)
    assert isinstance(known, type(new)), f"{new.instrument.name} is reported as another kind"
    return known


def _metrics(reported: Iterable[tuple[Instrument, otel.DataT]]) -> list[otel.Metric]:
    return [otel.Metric(i.name, i.description, i.unit, data) for i, data in reported if data.data_points]


def _under(resource: Resource, metrics: list[otel.Metric]) -> otel.ResourceMetrics:
    return otel.ResourceMetrics(resource, [otel.ScopeMetrics(_SCOPE, metrics, "")], "")
