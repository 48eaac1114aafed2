"""Reports a process by OTLP/gRPC: counted in place, exported in bulk, spans only for the sampled requests.

    record()/add()/set() -> bucket arrays of this process -> every interval one MetricsData -> OTLPMetricExporter
    span()               -> SDK tracer, only if sampled   -> BatchSpanProcessor             -> OTLPSpanExporter

The OpenTelemetry SDK's own instruments cost some 8 µs a call; a bucket array behind a lock costs 0.4. Totals are
cumulative, so an export that fails loses nothing: the next one carries it.
"""

import logging
import math
import random
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import export as points
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry.conventions import (
    ROLE,
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    SERVICE_VERSION,
    Instrument,
)

logger = logging.getLogger(__name__)

Attributes = tuple[tuple[str, str | int | float | bool], ...]
"""Attributes of a data point as pairs, so that they can key a dict without a copy."""

EXPORT_TIMEOUT_S = 3.0
_ONE_TRY_S = 0.7
"""A timeout that the SDK tries an export once in: it waits for 0.8 s or more before it tries again."""
_CUMULATIVE = points.AggregationTemporality.CUMULATIVE


class _Reportable(Protocol):
    instrument: Instrument

    def data(self, start_ns: int, now_ns: int) -> points.DataT: ...


class Counter:
    """A sum that only grows."""

    kinds = ("counter",)

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._lock = threading.Lock()
        self._totals: dict[Attributes, float] = {}

    def add(self, amount: float, attributes: Attributes = ()) -> None:
        """Add `amount`, which must not be negative."""
        with self._lock:
            self._totals[attributes] = self._totals.get(attributes, 0) + amount

    def data(self, start_ns: int, now_ns: int) -> points.DataT:
        """The totals so far."""
        with self._lock:
            totals = dict(self._totals)
        return points.Sum(_numbers(totals, start_ns, now_ns), _CUMULATIVE, is_monotonic=True)


class Gauge:
    """A number that is what it is now: the last one set, or what `observe` gives at export.

    An amount that can be summed over processes, such as memory, goes out as OpenTelemetry's UpDownCounter.
    """

    kinds = ("gauge", "updowncounter")

    def __init__(self, instrument: Instrument, observe: Callable[[], Mapping[Attributes, float]] | None = None) -> None:
        self.instrument = instrument
        self._observe = observe
        self._values: dict[Attributes, float] = {}

    def set(self, value: float, attributes: Attributes = ()) -> None:
        """Replace the value."""
        self._values[attributes] = value

    def clear(self) -> None:
        """Forget every value."""
        self._values = {}

    def data(self, start_ns: int, now_ns: int) -> points.DataT:
        """The values now."""
        values = self._observe() if self._observe else dict(self._values)
        numbers = _numbers(values, start_ns, now_ns)
        if self.instrument.kind == "updowncounter":
            return points.Sum(numbers, _CUMULATIVE, is_monotonic=False)
        return points.Gauge(numbers)


class Histogram:
    """Counts of values between the instrument's boundaries; a value on a boundary falls below it."""

    kinds = ("histogram",)

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._bounds = instrument.boundaries
        self._lock = threading.Lock()
        self._cells: dict[Attributes, _Cell] = {}

    def record(self, value: float, attributes: Attributes = (), times: int = 1) -> None:
        """Count one value, in the instrument's unit, or the same one several times."""
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            cell = self._cells.get(attributes)
            if cell is None:
                cell = self._cells[attributes] = _Cell(len(self._bounds) + 1)
            cell.counts[bucket] += times
            cell.total += times * value
            if value < cell.low:
                cell.low = value
            if value > cell.high:
                cell.high = value

    def data(self, start_ns: int, now_ns: int) -> points.DataT:
        """The buckets so far."""
        with self._lock:
            cells = [(attributes, cell.copy()) for attributes, cell in self._cells.items()]
        return points.Histogram(
            [
                points.HistogramDataPoint(
                    attributes=dict(attributes),
                    start_time_unix_nano=start_ns,
                    time_unix_nano=now_ns,
                    count=sum(cell.counts),
                    sum=cell.total,
                    bucket_counts=cell.counts,
                    explicit_bounds=self._bounds,
                    min=cell.low,
                    max=cell.high,
                )
                for attributes, cell in cells
            ],
            _CUMULATIVE,
        )


_Kind = TypeVar("_Kind", Counter, Gauge, Histogram)


class _Cell:
    __slots__ = ("counts", "high", "low", "total")

    def __init__(self, num_buckets: int) -> None:
        self.counts = [0] * num_buckets
        self.total = 0.0
        self.low = math.inf
        self.high = -math.inf

    def copy(self) -> "_Cell":
        other = _Cell(0)
        other.counts, other.total, other.low, other.high = list(self.counts), self.total, self.low, self.high
        return other


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
                SERVICE_NAMESPACE: "trimtab",
                SERVICE_VERSION: version,
                SERVICE_INSTANCE_ID: instance,
                ROLE: role,
            }
        )
        self._interval_s = interval_s
        self.trace_ratio = trace_ratio
        self._start_ns = time.time_ns()
        self._instruments: dict[str, _Reportable] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._delivered = True
        self._has_collector: bool | None = None
        """Whether one has answered so far; none before the first export has ended."""
        self._endpoint = endpoint
        self._exporter = OTLPMetricExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
        # The SDK logs each failed export; `_export` says it once.
        logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").setLevel(logging.CRITICAL)
        self._spans = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S), schedule_delay_millis=interval_s * 1000
        )
        self._tracer = self._new_tracer()

    def serves(self, version: str) -> None:
        """Report as `version` from now on; what has been counted goes on."""
        self.resource = self.resource.merge(Resource({SERVICE_VERSION: version}))
        self._tracer = self._new_tracer()

    def counter(self, instrument: Instrument) -> Counter:
        """The counter for `instrument`, the same one each time."""
        return self._add(Counter(instrument))

    def histogram(self, instrument: Instrument) -> Histogram:
        """The histogram for `instrument`, the same one each time."""
        return self._add(Histogram(instrument))

    def gauge(self, instrument: Instrument, observe: Callable[[], Mapping[Attributes, float]] | None = None) -> Gauge:
        """The gauge for `instrument`, the same one each time; `observe`, if given, gives the values at each export."""
        return self._add(Gauge(instrument, observe))

    def sampled(self, traceparent: str | None) -> bool:
        """Whether a request gets spans: as its caller decided (W3C Trace Context), else by the sampling ratio."""
        if traceparent is None:
            return random.random() < self.trace_ratio
        return traceparent[-2:] == "01"

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
        parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent} if traceparent else {})
        span = self._tracer.start_span(
            name, context=parent, kind=trace.SpanKind.SERVER, attributes=attributes, start_time=start_ns
        )
        inside = trace.set_span_in_context(span)
        for child_name, child_start_ns, child_end_ns in children:
            self._tracer.start_span(child_name, context=inside, start_time=child_start_ns).end(child_end_ns)
        if error is not None:
            span.set_status(trace.StatusCode.ERROR, error)
        span.end(end_ns)

    def start(self) -> None:
        """Begin to export every interval."""
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def shutdown(self) -> None:
        """Export once more and stop; what the collector does not take within the timeout is lost.

        Where no collector has ever answered, it is tried once and not waited for.
        """
        self._stopping.set()
        is_alone = self._has_collector is False
        if is_alone:
            self._exporter.shutdown()  # ends an export that is being tried again
        if self._thread:
            self._thread.join(EXPORT_TIMEOUT_S)
        if is_alone:
            self._exporter = OTLPMetricExporter(endpoint=self._endpoint, timeout=_ONE_TRY_S)
        self._export()
        self._exporter.shutdown()
        self._spans.shutdown()  # type: ignore[no-untyped-call]

    def _new_tracer(self) -> trace.Tracer:
        provider = TracerProvider(sampler=ALWAYS_ON, resource=self.resource, shutdown_on_exit=False)
        provider.add_span_processor(self._spans)
        return provider.get_tracer("trimtab")

    def _add(self, reportable: _Kind) -> _Kind:
        assert reportable.instrument.kind in reportable.kinds
        known = self._instruments.setdefault(reportable.instrument.name, reportable)
        assert isinstance(known, type(reportable)), f"{reportable.instrument.name} is reported as another kind"
        return known

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            self._export()

    def _export(self) -> None:
        now_ns = time.time_ns()
        reported = [(r.instrument, r.data(self._start_ns, now_ns)) for r in list(self._instruments.values())]
        metrics = [points.Metric(i.name, i.description, i.unit, data) for i, data in reported if data.data_points]
        scope = points.ScopeMetrics(InstrumentationScope("trimtab"), metrics, "")
        result = self._exporter.export(points.MetricsData([points.ResourceMetrics(self.resource, [scope], "")]))
        delivered = result is points.MetricExportResult.SUCCESS
        self._has_collector = self._has_collector or delivered
        if delivered is not self._delivered:
            self._delivered = delivered
            if delivered:
                logger.info("the OTLP collector answers again")
            else:
                logger.warning("no OTLP collector answers at %s; counting goes on", self._exporter._endpoint)


def _numbers(values: Mapping[Attributes, float], start_ns: int, now_ns: int) -> list[points.NumberDataPoint]:
    return [
        points.NumberDataPoint(
            attributes=dict(attributes), start_time_unix_nano=start_ns, time_unix_nano=now_ns, value=value
        )
        for attributes, value in values.items()
    ]
