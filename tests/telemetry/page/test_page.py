"""The page in a real browser."""

import math

import pytest

from tests.telemetry.page.browsing import CHROMIUM, EVIL, FLAGS, OTHER_TRACE_ID, SPIKE_S, TRACE_ID, Visits, see
from tests.telemetry.running import running
from tests.telemetry.traffic import START_S, Clock

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")


@pytest.fixture(scope="module")
def collector():
    """A collector that saw normal traffic, then a spike that goes on; `second` brings one second more."""
    clock = Clock()
    objective = {"name": "quick", "service": "digits", "share": 0.5, "latency_s": 0.1}
    with running(clock=clock, slos=[objective]) as it:
        it.second = see(it, clock)
        yield it


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, collector):
    visits = Visits(browser, collector.page)
    yield visits
    visits.close()


def test_plots_numbers_and_the_artifact_are_shown(visit):
    page = visit()
    shown = page.eval_on_selector_all(".plot", "plots => plots.map(plot => plot.dataset.plot)")
    assert shown == ["latency", "throughput", "errors", "cpu", "saturation"]
    assert "p95 latency" in page.inner_text(".cards")
    assert "version 7 · 2 instances" in page.inner_text(".title")
    artifact = page.inner_text("section[aria-label=Artifact]").replace("\N{MULTIPLICATION SIGN}", "x")
    assert "120x smaller" in artifact
    assert "20x faster" in artifact
    drawn = (
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(value => value)"
    )
    assert page.eval_on_selector("[data-plot=latency] canvas", drawn)


def test_the_decisions_of_a_rollout_are_listed_and_marked(visit):
    page = visit()
    assert "version 7 after 6, canary 10%: good" in page.inner_text("section[aria-label=Rollouts]")
    assert page.locator("[data-plot=latency] .change").count() >= 1


BAND_ON_PLOT = """() => {
  const found = [".band:not(.other)", ".u-over"].map((each) => document.querySelector(`[data-plot=latency] ${each}`));
  return found.every(Boolean) && found.map((each) => each.getBoundingClientRect().toJSON());
}"""
"""Where both are at one moment: they are drawn anew whenever new values come."""


def test_a_spike_is_one_banner_a_band_on_the_plot_and_a_line_in_the_list(visit):
    page = visit()
    page.wait_for_selector("[data-plot=latency] .band:not(.other)")
    box, plot = page.wait_for_function(BAND_ON_PLOT).json_value()
    assert box["width"] >= 2
    assert box["height"] > 100
    assert plot["x"] <= box["x"] <= plot["x"] + plot["width"]
    assert page.locator("#banners p").count() == 1
    assert "digits: p95 latency" in page.inner_text("#banners")
    assert "digits: p95 latency" in page.inner_text("section[aria-label=Incidents]")


VIEWS = {
    "overview": ".tile b",
    "model/digits?range=300": ".plot canvas",
    "process/digits/a": ".plot canvas",
    "node/node-a": ".plot canvas",
    "incidents": ".events a",
    "incident/1": "[data-plot=latency] .band",
    "traces?range=3600": ".scroll .code",
    f"trace/{TRACE_ID.hex()}": ".waterfall summary",
    "drift/m": ".bars",
    "slos": "tbody tr",
    "trainings": ".panel",
}


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_in_light_or_dark(visit, view):
    page = visit(view, VIEWS[view], color_scheme="light")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(page).response["violations"]
        assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found] == []


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_scrolls_sideways(visit, view):
    page = visit(view, VIEWS[view], viewport={"width": 768, "height": 800})
    for width in (768, 390, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("scheme", "brightness"), [("light", (600, 765)), ("dark", (0, 150))])
def test_the_background_follows_the_colour_scheme(visit, scheme, brightness):
    page = visit(color_scheme=scheme)
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    low, high = brightness
    assert low <= sum(int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(",")) <= high


def test_markup_that_a_sender_chose_stays_text_in_every_view(visit):
    page = visit("overview", ".tile")
    page.click(".tile:has-text('onerror')")
    page.wait_for_selector(".title h2:has-text('onerror')")
    assert page.inner_text(".title h2") == EVIL
    page.click("section[aria-label=Processes] tbody a >> nth=0")
    page.wait_for_selector(".path:has-text('onerror')")
    assert page.inner_text(".title h2") == EVIL
    page.wait_for_selector(".plot canvas")
    page.click(".title a")
    page.wait_for_selector(".title:has-text('node · 1 process')")
    assert page.inner_text(".title h2") == EVIL
    assert page.title() == "Trimtab telemetry"
    assert page.query_selector("main img, main script") is None


def test_the_address_holds_the_view_and_back_goes_back(visit):
    page = visit("overview", ".tile")
    page.click("text=24 h")
    page.click(".tile:has-text('digits')")
    page.wait_for_selector(".plot canvas")
    assert page.url.endswith("#model/digits?range=86400")
    page.click("[data-seconds='300']")
    page.wait_for_selector("[data-seconds='300'][aria-pressed=true]")
    page.go_back()
    page.wait_for_selector("[data-seconds='86400'][aria-pressed=true]")
    page.go_back()
    page.wait_for_selector(".tile")
    page.go_forward()
    page.wait_for_selector(".plot canvas")
    assert page.url.endswith("#model/digits?range=86400")


def test_dragging_over_a_plot_zooms_all_of_them_and_back_zooms_out(visit):
    page = visit()
    box = page.query_selector("[data-plot=throughput] .u-over").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, y, steps=3)
    with page.expect_response(lambda response: "api/series" in response.url and "since=" in response.url) as caught:
        page.mouse.up()
    answer = caught.value.json()
    now_s = answer["now"]
    assert answer["since"] == pytest.approx(now_s - 450, abs=10)
    assert answer["until"] == pytest.approx(now_s - 225, abs=10)
    assert page.inner_text("#status") == "a fixed time"
    page.go_back()
    page.wait_for_selector("#status[data-state=live]")


def test_a_zoomed_plot_has_the_same_value_on_card_legend_and_line(visit):
    page = visit(f"model/digits?from={START_S + 100:.0f}&to={START_S + SPIKE_S - 100:.0f}")
    card = page.inner_text(".card:has-text('p95 latency') strong")
    legend = page.inner_text("[data-plot=latency] .u-series:has-text('p95') .u-value")
    assert card == legend
    assert card.endswith("ms")


def test_the_keyboard_moves_the_cursor_and_zooms(visit):
    page = visit()
    page.focus("[data-plot=latency]")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.getElementById('said').textContent.includes('p95')")
    page.keyboard.press("+")
    page.wait_for_selector("#status[data-state=still]")
    start, end = (float(page.url.split(f"{name}=")[1].split("&")[0]) for name in ("from", "to"))
    assert end - start == pytest.approx(450, abs=2)


def test_new_values_are_shown_without_being_asked_for_and_the_focus_stays(visit, collector):
    page = visit()
    page.focus("section[aria-label=Processes] tbody a >> nth=0")
    with page.expect_response(lambda response: "api/series" in response.url) as before:
        pass
    collector.second()
    with page.expect_response(lambda response: "api/series" in response.url) as after:
        pass
    assert math.floor(after.value.json()["now"] - before.value.json()["now"]) == 1
    assert page.evaluate("document.activeElement.textContent") in ("a", "b")


def test_a_card_and_its_plots_legend_say_the_same_in_every_range(visit):
    page = visit()
    for seconds in ("300", "3600"):
        with page.expect_response(lambda response: f"range={seconds}" in response.url):  # noqa: B023
            page.click(f"[data-seconds='{seconds}']")
        page.wait_for_selector(f"[data-seconds='{seconds}'][aria-pressed=true]")
        card = page.inner_text(".card:has-text('p95 latency') strong")
        legend = page.inner_text("[data-plot=latency] .u-series:has-text('p95') .u-value")
        assert card == legend
        assert card.endswith("ms")


def test_a_trace_is_found_and_shown_as_a_waterfall_with_what_was_logged(visit):
    page = visit("traces?range=3600", ".scroll .code")
    page.select_option("label:has-text('Status') select", "true")
    page.fill("label:has-text('At least') input", "20")
    page.click("button:has-text('Search')")
    page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1")
    assert "failed=true" in page.url
    assert "inference" in page.inner_text("tbody")
    page.click(".scroll .code")
    page.wait_for_selector(".waterfall summary")
    names = page.eval_on_selector_all(".waterfall b", "all => all.map((each) => each.textContent)")
    assert names == ["POST infer", "queue", "inference"], "each below the one it is a part of"
    left, width = page.eval_on_selector(
        ".waterfall li:last-child i", "bar => [parseFloat(bar.style.left), parseFloat(bar.style.width)]"
    )
    assert (left, width) == pytest.approx((25, 72.5), abs=1)
    assert "no memory <img" in page.inner_text("section[aria-label='Log records']")
    page.click(".waterfall li:last-child summary")
    assert EVIL in page.inner_text(".waterfall li:last-child dl")
    assert page.get_attribute(".waterfall dd .code", "href").startswith(f"#trace/{OTHER_TRACE_ID.hex()}")
    assert page.query_selector("main img, main script") is None


def test_a_slow_request_on_the_plot_of_latency_leads_to_its_trace(visit):
    page = visit("model/digits", ".plot .slow")
    assert page.locator(".plot .slow").count() == 1
    slow = page.locator("[data-plot=latency] .slow")
    assert "200\u00a0ms" in slow.get_attribute("title")
    slow.click()
    page.wait_for_selector(".waterfall summary")
    assert f"#trace/{TRACE_ID.hex()}" in page.url


def test_rows_are_shown_beside_those_the_model_was_made_with(visit):
    page = visit("drift/m", ".bars")
    assert "none drifted" in page.inner_text(".cards")
    (figure,) = page.query_selector_all("figure.drift")
    assert figure.query_selector("h3").inner_text() == "x[0]"
    assert len(figure.query_selector_all("rect.then")) == len(figure.query_selector_all("rect.now")) == 10


def test_an_objective_shows_what_is_left_of_its_budget(visit):
    page = visit("slos", "tbody tr")
    row = page.inner_text("tbody tr").replace("\xa0", " ")
    assert "50 % answered within 100 ms" in row
    assert "100 %" in row, "a minute of slow requests is little of what a month allows"


def test_an_incident_shows_its_evidence_and_takes_what_a_person_says(browser):
    clock = Clock()
    with running(clock=clock) as it:
        see(it, clock)
        visit = Visits(browser, it.page)
        page = visit("overview", "#banners a")
        page.click("#banners a")
        page.wait_for_selector("[data-plot=latency] .band:not(.other)")
        assert "first unusual value of latency" in page.inner_text("section[aria-label=Timeline]")
        page.fill("form:has-text('Acknowledge') [name=by]", "<b>Ann</b>")
        page.click("text=Acknowledge >> nth=-1")
        page.wait_for_selector("#banners :has-text('<b>Ann</b> is looking at it')")
        page.fill("form:has-text('Silence') [name=why]", "being repaired")
        page.click("button:has-text('Silence')")
        page.wait_for_selector("#banners", state="hidden")
        page.click("nav >> text=Incidents")
        page.wait_for_selector("td:has-text('being repaired')")
        page.click("text=Lift")
        page.wait_for_selector("#banners a")
        page.click("#banners a")
        page.fill("form:has-text('Accept') [name=why]", "the new model is slower")
        page.click("button:has-text('Accept as normal')")
        page.wait_for_selector(".title .badge:has-text('accepted')")
        visit.close()


def test_without_data_it_says_what_to_do(browser):
    with running() as it:
        page = browser.new_page()
        page.goto(it.page)
        page.wait_for_selector("#empty:visible")
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in page.inner_text("#empty")
        page.close()


def test_when_the_collector_is_gone_the_last_data_stays(browser):
    clock = Clock()
    with running(clock=clock) as it:
        see(it, clock, seconds=5)
        page = browser.new_page()
        page.goto(f"{it.page}/#model/digits")
        page.wait_for_selector(".plot canvas")
    page.wait_for_selector("#status[data-state=lost]")
    assert "connection lost" in page.inner_text("#status")
    assert page.query_selector(".plot canvas") is not None
    page.close()
