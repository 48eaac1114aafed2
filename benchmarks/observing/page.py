"""How soon the page shows a day of a hundred series: `python -m benchmarks.telemetry --only page_ms`.

A process that has reported 25 metrics of four series each, every second for a day, in a collector that keeps them on
disk. A browser without a cache opens its view; the time runs from the navigation until all lines are drawn.
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from benchmarks.throughput import Figures, Rounds
from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.receivers.receiver import listen
from telemetry.storage.storage import Storage

NUM_METRICS, NUM_LINES = 25, 4
DAY_S = 86_400
NOW_S = 1_800_000_000.0
SERVICE, INSTANCE = "digits", "replica-1"
DRAWN = f"""() => {{
  const plots = [...document.querySelectorAll('.plot')];
  const drawn = (plot) => plot.querySelectorAll('.u-series').length === {NUM_LINES + 1};
  return plots.length === {NUM_METRICS} && plots.every(drawn) && performance.now();
}}"""
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")


def figures(options: argparse.Namespace, rounds: Rounds) -> Figures:
    """Median and slowest of several visits, milliseconds; where the time goes in the server."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    num_visits = 3 if options.quick else 4 * rounds.rounds
    with tempfile.TemporaryDirectory() as folder, _page(Path(folder)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        visits = [_visit(browser, url) for _ in range(num_visits)]
        browser.close()
    shown, answered, num_bytes = zip(*visits, strict=True)
    print(f"from navigation to all lines drawn: {', '.join(f'{value:.0f}' for value in shown)} ms")
    print(f"of that the series' answer: {statistics.median(answered):.0f} ms, {num_bytes[0] / 2**20:.2f} MiB")
    return {"page_ms": statistics.median(shown), "page_slowest_ms": max(shown)}


def _visit(browser: Any, url: str) -> tuple[float, float, int]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    with page.expect_response(lambda response: "api/process" in response.url) as caught:
        page.goto(f"{url}/#process/{SERVICE}/{INSTANCE}?range={DAY_S}")
    drawn_ms = page.wait_for_function(DRAWN, polling="raf").json_value()
    timing = caught.value.request.timing
    size = len(caught.value.body())
    context.close()
    return float(drawn_ms), timing["responseEnd"] - timing["requestStart"], size


@contextmanager
def _page(folder: Path) -> Iterator[str]:
    """A collector with that day on disk, and its page; yields where it is."""
    collector = Collector(CollectorConfig(grpc_port=0, http_port=0, data_dir=folder), clock=lambda: NOW_S)
    _record(collector)
    listener = listen("page_port", "127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(collector.asgi, log_level="warning"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/telemetry"
    finally:
        server.should_exit = True
        thread.join(20)


def _record(collector: Collector) -> None:
    """A day of random walks, a checkpoint each hour, and one report by which the process is known."""
    collector.receive_metrics(_report())
    keys = [each.key for each in collector.series.plotted(lambda key: key.metric.startswith("bench."))]
    assert len(keys) == NUM_METRICS * NUM_LINES
    storage: Storage = collector.storage
    numbers = np.array([storage.series_id(key, "gauge") for key in keys])
    rng = np.random.default_rng(0)
    for first in range(0, DAY_S, 3600):
        values = 100 + np.cumsum(rng.standard_normal((3600, len(keys))), axis=0)
        for second in range(3600):
            storage.append(numbers, NOW_S - DAY_S + first + second, values[second])
        storage.checkpoint(NOW_S - DAY_S + first + 3600)
        storage.flush(60)  # an hour that is over is merged, as it would be by now


def _report() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    for name, value in (("service.name", SERVICE), ("service.instance.id", INSTANCE)):
        resource.resource.attributes.append(KeyValue(key=name, value=AnyValue(string_value=value)))
    scope = resource.scope_metrics.add()
    for at in range(NUM_METRICS):
        metric = otlp.Metric(name=f"bench.metric_{at:02d}")
        for line in range(NUM_LINES):
            part = KeyValue(key="line", value=AnyValue(string_value=f"line {line}"))
            metric.gauge.data_points.add(time_unix_nano=int(NOW_S * 1e9), as_double=100.0, attributes=[part])
        scope.metrics.append(metric)
    return request
