"""Spans of the sampled requests, by OpenTelemetry's SDK."""

import random
import re
import threading
from collections.abc import Iterable, Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_TRACEPARENT = re.compile(
    r"[ \t]*(?P<version>(?!ff)[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]"
    r"(?P<flags>[0-9a-f])(?P<rest>-.*)?[ \t]*"
)
"""Read here for the decision alone: by the SDK's propagator it would take 8 µs of every request that has one."""


class Spans:
    """Reports requests that have ended as spans; the SDK's thread that exports them begins with the first."""

    def __init__(self, resource: Resource, *, endpoint: str | None, timeout_s: float, interval_s: float) -> None:
        self._resource = resource
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._interval_s = interval_s
        self._processor: BatchSpanProcessor | None = None
        self._tracer: trace.Tracer | None = None
        self._lock = threading.Lock()

    def report_as(self, resource: Resource) -> None:
        """Let spans that come from now on bear `resource`."""
        with self._lock:
            self._resource = resource
            self._tracer = None

    def add(
        self,
        name: str,
        *,
        start_ns: int,
        end_ns: int,
        traceparent: str | None,
        attributes: Mapping[str, str | int | float | bool],
        error: str | None,
        children: Iterable[tuple[str, int, int]],
    ) -> None:
        """Report a server span, as a child of `traceparent`, with `(name, start, end)` children."""
        tracer = self._tracer or self._new_tracer()
        span = tracer.start_span(
            name,
            context=_parent(traceparent),
            kind=trace.SpanKind.SERVER,
            attributes=attributes,
            start_time=start_ns,
        )
        inside = trace.set_span_in_context(span)
        for child_name, child_start_ns, child_end_ns in children:
            tracer.start_span(child_name, context=inside, start_time=child_start_ns).end(child_end_ns)
        if error is not None:
            span.set_status(trace.StatusCode.ERROR, error)
        span.end(end_ns)

    def shutdown(self) -> None:
        """Export what is left and stop."""
        if self._processor is not None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _new_tracer(self) -> trace.Tracer:
        with self._lock:
            if self._processor is None:
                exporter = OTLPSpanExporter(endpoint=self._endpoint, timeout=self._timeout_s)
                self._processor = BatchSpanProcessor(exporter, schedule_delay_millis=self._interval_s * 1000)
            provider = TracerProvider(sampler=ALWAYS_ON, resource=self._resource, shutdown_on_exit=False)
            provider.add_span_processor(self._processor)
            self._tracer = provider.get_tracer("trimtab")
            return self._tracer


def is_sampled(traceparent: str | None, ratio: float) -> bool:
    """Whether a request gets spans: as its caller decided, else, without a valid `traceparent`, by the ratio.

    The flags are a bit field, of which only the last bit says "sampled"; a version that is not known yet is read as far
    as version 00 goes (W3C Trace Context, https://www.w3.org/TR/trace-context-2/#trace-flags).
    """
    caller = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if caller is None or (caller["rest"] and caller["version"] == "00"):
        return random.random() < ratio
    return bool(int(caller["flags"], 16) & 1)


def _parent(traceparent: str | None) -> Context:
    """The caller's span as a context; an empty one where there is none, or no valid one."""
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent} if traceparent else {}, Context())
