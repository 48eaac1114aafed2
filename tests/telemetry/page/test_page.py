"""The page in a real browser, with data that the real OpenTelemetry SDK sent."""

import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from telemetry.conventions import ARTIFACT_LATENCY, ARTIFACT_QUALITY, ARTIFACT_SIZE, REQUEST_DURATION
from telemetry.detectors.robust_z import RobustZScore
from telemetry.watching.latency import LatencyWatch
from tests.telemetry.running import running
from tests.telemetry.traffic import START_S, Clock, Sender

CHROMIUM = "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else shutil.which("chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


class Sdk:
    """One process that reports by the SDK."""

    def __init__(self, endpoint: str, service: str) -> None:
        resource = Resource.create({"service.name": service, "service.instance.id": "a", "service.version": "7"})
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=endpoint), export_interval_millis=3_600_000)
        self.provider = MeterProvider([reader], resource, shutdown_on_exit=False)
        meter = self.provider.get_meter("test")
        self.durations = meter.create_histogram(
            REQUEST_DURATION.name, "s", explicit_bucket_boundaries_advisory=list(REQUEST_DURATION.boundaries)
        )
        self.gauges = {i.name: meter.create_gauge(i.name) for i in (ARTIFACT_QUALITY, ARTIFACT_SIZE, ARTIFACT_LATENCY)}

    def second(self, duration_s: float) -> None:
        """Report one interval of requests, all of one duration."""
        for _ in range(40):
            self.durations.record(duration_s, {"http.response.status_code": 200})
        self.provider.force_flush()


@pytest.fixture(scope="module")
def page_url(tmp_path_factory):
    """A collector that saw normal traffic, then a spike that goes on."""
    patch = pytest.MonkeyPatch()
    # A frame lasts at least half a second: a shorter warm-up keeps the test short. `test_detection` has the real one.
    patch.setattr("telemetry.watching.latency.RobustZScore", lambda **named: RobustZScore(**named, warmup=5))
    patch.setattr(LatencyWatch, "MIN_REQUESTS", 20)
    with running() as it:
        sdk, evil = Sdk(it.grpc, "digits"), Sdk(it.grpc, EVIL)
        for step, size, latency, quality in (("teacher", 48e6, 0.004, 0.986), ("quantize", 4e5, 0.0002, 0.975)):
            sdk.gauges[ARTIFACT_SIZE.name].set(size, {"trimtab.step": step})
            sdk.gauges[ARTIFACT_LATENCY.name].set(latency, {"trimtab.step": step, "trimtab.batch.size": 1})
            sdk.gauges[ARTIFACT_QUALITY.name].set(quality, {"trimtab.step": step, "trimtab.statistic": "value"})
        for at in range(18):
            sdk.second(0.002 if at < 10 else 0.2)
            evil.second(0.002)
            time.sleep(0.55)
        yield it.page
        for each in (sdk, evil):
            each.provider.shutdown()
    patch.undo()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, page_url):
    """Opens the page; at the end nothing may have gone wrong in it or left its origin."""
    problems, requests, contexts = [], [], []

    def open_page(fragment="digits", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{page_url}#{fragment}")
        page.wait_for_selector(".plot canvas")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
    assert {urlsplit(url).netloc for url in requests} == {urlsplit(page_url).netloc}


def test_plots_numbers_and_the_artifact_are_shown(visit):
    page = visit()
    shown = page.eval_on_selector_all(".plot", "plots => plots.map(plot => plot.dataset.plot)")
    assert shown == ["latency", "throughput", "errors"]
    assert "p95 latency" in page.inner_text("#cards")
    assert "version 7" in page.inner_text("#about")
    artifact = page.inner_text("#artifact").replace("\N{MULTIPLICATION SIGN}", "x")
    assert "120x smaller" in artifact
    assert "20x faster" in artifact
    drawn = (
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(value => value)"
    )
    assert page.eval_on_selector("[data-plot=latency] canvas", drawn)


def test_a_spike_is_a_band_on_the_plot_and_a_sentence_in_the_list(visit):
    page = visit()
    band = page.wait_for_selector("[data-plot=latency] .band:not(.other)")
    box, plot = band.bounding_box(), page.query_selector("[data-plot=latency] .u-over").bounding_box()
    assert box["width"] >= 2
    assert box["height"] > 100
    assert plot["x"] <= box["x"] <= plot["x"] + plot["width"]
    assert "digits: p95 latency" in page.inner_text("#firing")
    assert "firing" in page.inner_text("#alerts")


@pytest.mark.parametrize("width", [360, 390, 768])
def test_nothing_scrolls_sideways(visit, width):
    page = visit(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("scheme", "brightness"), [("light", (600, 765)), ("dark", (0, 150))])
def test_the_background_follows_the_colour_scheme(visit, scheme, brightness):
    page = visit(color_scheme=scheme)
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    low, high = brightness
    assert low <= sum(int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(",")) <= high


def test_markup_in_a_service_name_stays_text(visit):
    page = visit()
    page.click("nav button:has-text('onerror')")
    page.wait_for_selector("#name:has-text('onerror')")
    assert page.inner_text("#name") == EVIL
    assert page.title() == "Trimtab telemetry"
    assert page.query_selector("main img, main script") is None


def test_a_range_can_be_chosen(visit):
    page = visit()
    with page.expect_response(lambda response: "api/series" in response.url) as caught:
        page.click("text=1 h")
    times = caught.value.json()["times"]
    assert times[-1] - times[0] == pytest.approx(3600, abs=10)
    assert page.get_attribute("[data-seconds='3600']", "aria-pressed") == "true"


def test_a_card_and_its_plots_legend_say_the_same(browser):
    clock = Clock()
    with running(clock=clock) as it:
        sender = Sender()
        for at_s in range(1, 606):  # a bin of the longest range holds six of these seconds
            clock.now_s = START_S + at_s
            durations = np.full(40, 0.08 if at_s % 2 else 0.002)
            it.collector.receive_metrics(sender.request({200: durations}, clock.now_s))
        page = browser.new_page()
        page.goto(it.page)
        page.wait_for_selector(".plot canvas")
        for label in ("5 min", "1 h"):
            with page.expect_response(lambda response: "api/series" in response.url):
                page.click(f"text={label}")
            page.wait_for_function("document.querySelector('[data-seconds][aria-pressed=true]') !== null")
            card = page.inner_text(".card:has-text('p95 latency') strong")
            legend = page.inner_text("[data-plot=latency] .u-series:has-text('p95') .u-value")
            assert card == legend
            assert card.endswith("ms")
        page.close()


def test_without_data_it_says_what_to_do(browser):
    with running() as it:
        page = browser.new_page()
        page.goto(it.page)
        page.wait_for_selector("#empty:visible")
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in page.inner_text("#empty")
        page.close()


def test_when_the_collector_is_gone_the_last_data_stays(browser):
    with running() as it:
        sdk = Sdk(it.grpc, "digits")
        for _ in range(3):
            sdk.second(0.002)
            time.sleep(0.6)
        page = browser.new_page()
        page.goto(it.page)
        page.wait_for_selector(".plot canvas")
    page.wait_for_selector("#status[data-state=lost]")
    assert "connection lost" in page.inner_text("#status")
    assert page.query_selector(".plot canvas") is not None
    page.close()
    sdk.provider.shutdown(timeout_millis=100)
