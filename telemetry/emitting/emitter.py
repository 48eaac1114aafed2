"""Reports a process by OTLP: counted in place, exported in bulk, spans of the requests that are worth it.

    record()/add()/set() -> bucket arrays of this process -> every interval one export -> Totals -+
    request()            -> spans, encoded where kept     ------------------------------> Queue  -+-> each collector,
                                                                                                     a thread of its own
The OpenTelemetry SDK's own instruments cost some 8 µs a call, its spans 25; a bucket array behind a lock costs 0.4, a
span written by hand 1.5. Totals are cumulative, so an export that fails loses nothing: the next one carries it. Nothing
that goes wrong here reaches the process that is reported, and what is dropped is counted.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from opentelemetry.sdk.metrics import export as otel
from opentelemetry.sdk.resources import Resource

from telemetry.conventions import (
    ERROR_TYPE,
    EXPORTED_LOGS,
    EXPORTED_POINTS,
    EXPORTED_SPANS,
    HOST_NAME,
    OWN_NAMESPACE,
    PROCESS_ENDED,
    PROCESS_PID,
    PROCESSED_SPANS,
    ROLE,
    SERVER_ADDRESS,
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    SERVICE_VERSION,
    TELEMETRY_FAILURES,
    TELEMETRY_SOURCE,
    Instrument,
)
from telemetry.emitting import destinations, environment
from telemetry.emitting.bin_counts import BinCounts
from telemetry.emitting.counter import Counter
from telemetry.emitting.data_points import CUMULATIVE, Attributes, numbers
from telemetry.emitting.destinations import Destination
from telemetry.emitting.encoding import encoded_metrics, encoded_resource, metrics_of
from telemetry.emitting.environment import Limits
from telemetry.emitting.gauge import Gauge, Observe
from telemetry.emitting.histogram import Histogram
from telemetry.emitting.sampling import Slowness, sampler_of
from telemetry.emitting.spans import LINGER_S, Spans
from telemetry.emitting.trace import Trace, caller_of, state_of
from telemetry.failures import Failures

logger = logging.getLogger(__name__)

SHUTDOWN_S = 4.5
"""Longest that `shutdown` waits, whatever an observer or the network does."""
_EXPORTED = {"metrics": EXPORTED_POINTS, "traces": EXPORTED_SPANS, "logs": EXPORTED_LOGS}

_Kind = TypeVar("_Kind", BinCounts, Counter, Gauge, Histogram)


class Emitter:
    """Reports one process under one resource: to Trimtab's collector at `endpoint`, by OTLP/gRPC, and to where
    OpenTelemetry's variables say, if they do. `TRIMTAB_COLLECTOR` stands for an `endpoint` that is not given, else
    http://localhost:4317; `none` says that there is no collector of Trimtab's.
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
        slow_s: float | None = None,
    ) -> None:
        """Of its requests `trace_ratio` are reported as spans, unless their callers decide, and all that fail or take
        longer than `slow_s`; if not given, than 99 of 100 like it.
        """
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
        self.trace_ratio = trace_ratio
        self._slow_s = slow_s
        self._began_ns = self._start_ns = time.time_ns()
        """When the process began to count, and when the version it serves did."""
        self._totals: dict[str, BinCounts | Counter | Histogram] = {}
        self._gauges: dict[str, Gauge] = {}
        self._lock = threading.Lock()
        """Held while totals are read or restarted, so that an export never mixes two versions."""
        self._failures = Failures(logger)
        self._due = threading.Event()
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        self._starters: list[Callable[[], None]] = []
        self._stoppers: list[Callable[[], None]] = []
        variables = dict(os.environ)
        self._environment = environment.read(variables, interval_s=interval_s)
        self._sampler = sampler_of(variables, trace_ratio)
        self._reads_callers = variables.get("OTEL_PROPAGATORS", "").strip().lower() != "none"
        self._destinations: list[Destination] = destinations.of(
            endpoint, variables, self._environment, interval_s=interval_s, failures=self._failures
        )
        self._interval_s = min((each.interval_s for each in self._destinations), default=interval_s)
        self.spans = Spans(encoded_resource(self.resource), self._environment.span_limits)
        for each in self._destinations:
            if each.spans:
                self.spans.deliver_to(*each.spans)

    def serves(self, version: str) -> None:
        """Report as `version` from now on: what the one before has counted goes out a last time, and totals start at
        zero, with a start time of their own.
        """
        with self._lock:
            now_ns = max(time.time_ns(), self._start_ns + 1)
            last = metrics_of((each.instrument, each.restart(self._start_ns, now_ns)) for each in self._totals.values())
            ended = encoded_metrics(self.resource, last) if last else b""
            self._start_ns = now_ns
            self.resource = self.resource.merge(Resource({SERVICE_VERSION: version}))
        for each in self._destinations:
            if each.totals and ended:
                each.totals[0].keep(ended)
        self.spans.report_as(encoded_resource(self.resource))

    def counter(self, instrument: Instrument) -> Counter:
        """The counter for `instrument`, the same one each time."""
        return _known(self._totals, Counter(instrument))

    def histogram(self, instrument: Instrument) -> Histogram:
        """The histogram for `instrument`, the same one each time."""
        return _known(self._totals, Histogram(instrument, self._environment.exemplars))

    def bin_counts(self, instrument: Instrument) -> BinCounts:
        """The counts by bin for `instrument`, the same ones each time."""
        return _known(self._totals, BinCounts(instrument))

    def gauge(self, instrument: Instrument, observe: Observe | None = None) -> Gauge:
        """The gauge for `instrument`, the same one each time; `observe`, if given, gives values at each export.

        An `observe` that raises leaves out this gauge alone.
        """
        gauge = _known(self._gauges, Gauge(instrument))
        if observe is not None:
            gauge.observe(observe)
        return gauge

    def begin(self, traceparent: str | None, tracestate: str | None = None) -> Trace:
        """A request's place in its trace; whether it is reported is decided by its caller, else by the ratio."""
        caller = caller_of(traceparent) if traceparent is not None and self._reads_callers else None
        return self._sampler.begin(caller, state_of(tracestate) if caller else "")

    def slowness(self) -> Slowness:
        """What tells which requests of one kind are slow."""
        return Slowness(self._slow_s)

    def on_start(self, begin: Callable[[], None]) -> None:
        """Call `begin` where `start` is called."""
        self._starters.append(begin)

    def on_shutdown(self, end: Callable[[], None]) -> None:
        """Call `end` where `shutdown` is."""
        self._stoppers.append(end)

    @property
    def takes_logs(self) -> bool:
        """Whether any collector is to get log records."""
        return any(each.logs for each in self._destinations)

    @property
    def log_limits(self) -> Limits:
        """How much a log record may have."""
        return self._environment.log_limits

    def log(self, record: bytes) -> None:
        """Report a log record, encoded as a field of its scope's."""
        resource = self.spans.resource
        for queue, delivery in (each.logs for each in self._destinations if each.logs):
            if not queue.put(resource, [record]):
                delivery.counts["queue_full"] += 1
            elif queue.is_due:
                delivery.wake()

    def start(self) -> None:
        """Begin to export every interval."""
        if self._environment.is_disabled:
            return
        for begin in self._starters:
            with self._failures.contained("beginning to observe"):
                begin()
        self._begin()

    def hurry(self) -> None:
        """Export now and not at the end of the interval."""
        self._due.set()

    def shutdown(self) -> None:
        """Export once more and stop, within `SHUTDOWN_S`; what the collectors do not take by then is lost."""
        ends_s = time.monotonic() + SHUTDOWN_S
        for end in self._stoppers:
            with self._failures.contained("ending to observe"):
                end()
        self._is_stopping = True
        self._due.set()
        if self._environment.is_disabled:
            return
        if self._thread is None:
            self._begin()
        assert self._thread is not None, "it was just started"
        self._thread.join(SHUTDOWN_S / 2)
        for each in self._destinations:
            each.stop()
        late = [each.name for each in self._destinations if not each.join(ends_s)]
        if self._thread.is_alive() or late:
            who = ", ".join(late) or "an observer"
            logger.warning("telemetry did not end within %g s because of %s: its last is lost", SHUTDOWN_S, who)

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()
        for each in self._destinations:
            each.start()

    def _run(self) -> None:
        while True:
            is_hurried = self._due.wait(self._interval_s)
            self._due.clear()
            if self._is_stopping:
                break
            self._export(is_hurried=is_hurried)
        self._export(is_last=True)

    def _export(self, *, is_last: bool = False, is_hurried: bool = False) -> None:
        with self._failures.contained("an export of telemetry"):
            now_s = time.monotonic()
            self.spans.flush(linger_s=0.0 if is_last else LINGER_S)
            due = [each for each in self._destinations if each.totals and (is_last or is_hurried or each.is_due(now_s))]
            if not due:
                return
            is_full = is_last or any(each.lacks_constants(now_s) for each in due)
            if is_last:
                self.gauge(PROCESS_ENDED).set(1)
            body, num_points, has_constants = self._now(is_full=is_full)
            for each in due:
                each.offer(body, num_points, is_full=is_full, has_constants=has_constants)

    def _now(self, *, is_full: bool) -> tuple[bytes, int, bool]:
        """An export, how many data points it has, and whether some of them are sent seldom."""
        with self._lock:
            resource, start_ns, now_ns = self.resource, self._start_ns, time.time_ns()
            reported = [(each.instrument, each.data(start_ns, now_ns)) for each in list(self._totals.values())]
        has_constants = is_full
        for gauge in list(self._gauges.values()):
            if not (gauge.is_observed or gauge.has_changed or is_full):
                continue
            has_constants = has_constants or not gauge.is_observed
            since_ns = self._began_ns if gauge.instrument.kind == "counter" else start_ns
            with self._failures.contained(f"observing {gauge.instrument.name}"):
                reported.append((gauge.instrument, gauge.data(since_ns, now_ns)))
        reported += [(instrument, self._sum(counts, now_ns)) for instrument, counts in self._own().items()]
        metrics = metrics_of(reported)
        return encoded_metrics(resource, metrics), sum(len(each.data.data_points) for each in metrics), has_constants

    def _own(self) -> dict[Instrument, dict[Attributes, float]]:
        """What became of what was reported, or was to be."""
        found: dict[Instrument, dict[Attributes, float]] = {
            TELEMETRY_FAILURES: {
                ((TELEMETRY_SOURCE, name), (ERROR_TYPE, error)): count
                for (name, error), count in list(self._failures.counts.items())
            },
            PROCESSED_SPANS: {_error(error): count for error, count in list(self.spans.counts.items())},
        }
        for delivery in (delivery for each in self._destinations for delivery in each.deliveries()):
            counts = found.setdefault(_EXPORTED[delivery.signal], {})
            for error, count in list(delivery.counts.items()):
                counts[((SERVER_ADDRESS, delivery.name), *_error(error))] = count
        return found

    def _sum(self, counts: Mapping[Attributes, float], now_ns: int) -> otel.DataT:
        return otel.Sum(numbers(counts, self._began_ns, now_ns), CUMULATIVE, is_monotonic=True)


def _error(error: str) -> Attributes:
    return ((ERROR_TYPE, error),) if error else ()


def _known(instruments: dict[str, Any], new: _Kind) -> _Kind:
    assert new.instrument.kind in new.kinds
    known = instruments.setdefault(new.instrument.name, new)
    assert isinstance(known, type(new)), f"{new.instrument.name} is reported as another kind"
    return known
