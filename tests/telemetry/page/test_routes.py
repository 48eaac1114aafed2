"""The page's ASGI application, behind a prefix and without one."""

import asyncio
import re
from pathlib import Path

import httpx
import numpy as np
import pytest

from telemetry.collector import Collector
from telemetry.page import routes
from tests.telemetry.traffic import START_S, Clock, Sender, Steady, replay, spiked

PAGE = Path(routes.__file__).parent


def client(collector, root_path=""):
    transport = httpx.ASGITransport(collector.asgi, root_path=root_path)
    return httpx.AsyncClient(transport=transport, base_url="http://test", follow_redirects=True)


async def get(path, root_path="", collector=None):
    async with client(collector or Collector(), root_path) as c:
        return await c.get(path)


def answer(*args, **named):
    return asyncio.run(get(*args, **named))


@pytest.mark.parametrize("root_path", ["", "/telemetry", "/deep/prefix"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_page_and_its_files_are_found_under_any_prefix(root_path, slash):
    page = answer((root_path or "/telemetry") + slash, root_path)
    assert page.status_code == 200
    assert page.url.path.endswith("/")
    links = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert len(links) > 5
    for link in links:
        assert not re.match(r"/|https?:", link), "links must be relative"
        assert answer(str(page.url.join(link)), root_path).status_code == 200


@pytest.mark.parametrize("path", ["/telemetry/", "/telemetry/app.js", "/telemetry/api/services", "/telemetry/nothing"])
def test_every_answer_forbids_other_origins_and_inline_scripts(path):
    policy = answer(path).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


def test_every_module_that_all_views_need_is_asked_for_at_once():
    modules = {path.name for path in PAGE.glob("*.js") if not path.name.startswith("uPlot")} - {"app.js"}
    preloaded = re.findall(r'<link rel="modulepreload" href="(.+?)">', (PAGE / "index.html").read_text())
    assert sorted(preloaded) == sorted(modules | {"views/banners.js"})


def test_a_file_that_the_browser_has_is_not_sent_again():
    first = answer("/telemetry/page.css")

    async def again():
        async with client(Collector()) as c:
            return await c.get("/telemetry/page.css", headers={"if-none-match": first.headers["etag"]})

    assert (asyncio.run(again()).status_code, first.status_code) == (304, 200)


def test_only_the_pages_files_are_served():
    for path in ("routes.py", "../collector.py", "%2e%2e/collector.py", "views.py", "__init__.py"):
        assert answer(f"/telemetry/{path}").status_code == 404


def test_the_page_has_no_inline_script_and_sets_no_html():
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)", html)
    assert not re.search(r"\son\w+=|style=", html)
    for script in [path for path in PAGE.rglob("*.js") if not path.name.startswith("uPlot")]:
        assert not re.search(
            r"innerHTML|insertAdjacentHTML|outerHTML\s*=|document\.write|eval\(|setHTML", script.read_text()
        ), script


def test_services_series_and_alerts_are_json():
    collector, _ = replay(spiked(Steady(rate=100), from_s=60), seconds=80, seed=0)
    (service,) = answer("/telemetry/api/services", collector=collector).json()["services"]
    assert (service["name"], service["num_instances"], service["num_firing"]) == ("digits", 1, 1)
    assert service["last"]["throughput"] == pytest.approx(100, rel=0.5)
    series = answer(f"/telemetry/api/series?service=digits&since={START_S}", collector=collector).json()
    plots = {plot["key"]: plot for plot in series["plots"]}
    assert set(plots) == {"latency", "throughput", "errors", "cpu", "saturation"}
    p95 = dict(zip(series["times"], plots["latency"]["lines"][1]["values"], strict=True))
    assert p95[START_S + 40] < 0.02
    assert p95[START_S + 75] > 0.2
    (alert,) = answer("/telemetry/api/alerts", collector=collector).json()["alerts"]
    assert alert["state"] == "firing"
    assert alert["started_s"] == pytest.approx(START_S + 61, abs=2)


def test_a_service_that_is_not_there_is_named():
    missing = answer("/telemetry/api/series?service=nope")
    assert (missing.status_code, missing.json()) == (
        404,
        {"error": "service must be one that has reported, got 'nope'"},
    )


@pytest.mark.parametrize("since", ["yesterday", "nan", "inf"])
def test_a_time_that_is_none_is_named(since):
    clock = Clock()
    collector = Collector(clock=clock)
    collector.receive_metrics(Sender().request({200: np.full(3, 0.1)}, clock.now_s))
    bad = answer(f"/telemetry/api/series?service=digits&since={since}", collector=collector)
    assert bad.status_code == 400
    assert "since must be a time in Unix seconds" in bad.json()["error"]


def test_the_vendored_plots_name_version_and_licence():
    assert "v1.6.32" in (PAGE / "uPlot.iife.min.js").read_text()[:200]
    assert "1.6.32" in (PAGE / "uPlot.NOTICE.txt").read_text()
    assert "MIT" in (PAGE / "uPlot.LICENSE.txt").read_text()
