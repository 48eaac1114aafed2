"""A browser, a collector that saw some minutes of traffic, and pages in which nothing may go wrong."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from opentelemetry.proto.trace.v1 import trace_pb2

from telemetry.collector import Collector
from telemetry.conventions import ARTIFACT_LATENCY, ARTIFACT_QUALITY, ARTIFACT_SIZE, ROLLOUT_DECISION
from tests.telemetry.drift.test_collected import USUAL, Replica
from tests.telemetry.running import Running
from tests.telemetry.traffic import START_S, Clock, Sender, attributes, with_exemplar

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
SPIKE_S = 540
"""From when on, in seconds after the start, requests take a hundred times as long."""
SECONDS = 600
TRACE_ID, OTHER_TRACE_ID = bytes(range(16)), bytes(range(1, 17))


@dataclass
class Visits:
    """Opens views; what went wrong in them, and what they asked for, is noted."""

    browser: Any
    url: str
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    def __call__(self, fragment: str = "model/digits", ready: str = ".plot canvas", **options: Any) -> Any:
        """The view that `fragment` names, once `ready` is there."""
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("console", lambda message: self.problems.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(f"{self.url}/#{fragment}")
        page.wait_for_selector(ready)
        return page

    def close(self) -> None:
        """Close all; nothing may have gone wrong or have been asked of another host."""
        for context in self.contexts:
            context.close()
        assert self.problems == []
        assert {urlsplit(url).netloc for url in self.requests} <= {urlsplit(self.url).netloc}


def of_artifact() -> list[otlp.Metric]:
    """What is reported of how a model was made."""
    metrics = []
    for instrument, values, more in (
        (ARTIFACT_SIZE, {"teacher": 48e6, "quantize": 4e5}, {}),
        (ARTIFACT_LATENCY, {"teacher": 0.004, "quantize": 0.0002}, {"trimtab__batch__size": 1}),
        (ARTIFACT_QUALITY, {"teacher": 0.986, "quantize": 0.975}, {"trimtab__statistic": "value"}),
    ):
        metric = otlp.Metric(name=instrument.name, unit=instrument.unit)
        for step, value in values.items():
            metric.gauge.data_points.add(
                time_unix_nano=int(START_S * 1e9), as_double=value, attributes=attributes(trimtab__step=step, **more)
            )
        metrics.append(metric)
    return metrics


def a_trace(collector: Collector) -> None:
    """A request that failed in its inference, with markup for an attribute, and what was logged of it."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(attributes(service__name="digits", service__instance__id="a"))
    spans = resource.scope_spans.add().spans
    for at, (name, parent, start_ms, length_ms) in enumerate(
        [("POST infer", b"", 0, 40), ("queue", bytes([1] * 8), 1, 9), ("inference", bytes([1] * 8), 10, 29)], start=1
    ):
        start_ns = int((START_S + 500) * 1e9) + start_ms * 10**6
        spans.add(
            trace_id=TRACE_ID,
            span_id=bytes([at] * 8),
            parent_span_id=parent,
            name=name,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + length_ms * 10**6,
            attributes=attributes(trimtab__batch__size=8, note=EVIL),
            status=trace_pb2.Status(code=2 if name == "inference" else 0, message="out of memory"),
            links=[trace_pb2.Span.Link(trace_id=OTHER_TRACE_ID, span_id=bytes([9] * 8))] if at == 3 else [],
        )
    collector.receive_traces(request)
    logs = ExportLogsServiceRequest()
    logged = logs.resource_logs.add()
    logged.resource.CopyFrom(resource.resource)
    record = logs_pb2.LogRecord(
        time_unix_nano=int((START_S + 500) * 1e9), severity_number=17, severity_text="ERROR", trace_id=TRACE_ID
    )
    record.body.string_value = f"no memory {EVIL}"
    logged.scope_logs.add().log_records.append(record)
    collector.receive_logs(logs)


def a_decision(collector: Collector) -> None:
    """Of a rollout, with markup in its words."""
    request = ExportLogsServiceRequest()
    record = logs_pb2.LogRecord(
        time_unix_nano=int((START_S + 400) * 1e9),
        event_name=ROLLOUT_DECISION,
        attributes=attributes(trimtab__change__service="digits"),
    )
    record.body.string_value = f"version 7 after 6, canary 10%: good {EVIL}"
    request.resource_logs.add().scope_logs.add().log_records.append(record)
    collector.receive_logs(request)


def see(running: Running, clock: Clock, *, seconds: int = SECONDS) -> Callable[[], None]:
    """Two replicas of `digits`, slow in the end, one of `m` whose rows are watched, and a service with markup for a
    name; returns what makes one second more."""
    replica = {"service.version": "7", "trimtab.role": "replica"}
    senders = [Sender(instance=name, resource={**replica, "host.name": f"node-{name}"}) for name in "ab"]
    watched = Replica("r1")
    evil = Sender(service=EVIL, instance=EVIL, resource={"host.name": EVIL, "service.version": EVIL})
    senders[0].extra = of_artifact()
    a_trace(running.collector)
    a_decision(running.collector)
    rng = np.random.default_rng(0)

    def second() -> None:
        clock.now_s += 1
        slow = 100.0 if clock.now_s - START_S > SPIKE_S else 1.0
        for sender in senders:
            durations = 0.002 * slow * np.exp(0.3 * rng.standard_normal(30))
            request = sender.request({200: durations}, clock.now_s)
            if clock.now_s == START_S + SPIKE_S + 1 and sender is senders[0]:
                with_exemplar(request, 0.2, clock.now_s, TRACE_ID)
            running.collector.receive_metrics(request)
        running.collector.receive_metrics(evil.request({200: np.full(20, 0.002)}, clock.now_s))
        watched.count(rng.multinomial(10, USUAL))
        running.collector.receive_metrics(watched.report(clock.now_s))
        running.collector.tick()
        senders[0].extra = []  # it was told how the model was made

    for _ in range(seconds):
        second()
    return second
