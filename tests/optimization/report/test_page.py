"""The report, as HTML and in a real browser."""

import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optimization.artifact.findings import Difference, Findings, Layer, SearchResult, Trial
from optimization.artifact.manifest import FileEntry, Machine, Manifest, Measurement, TensorSpec
from optimization.report import page, plots
from tests.optimization.report.test_terminal import CONTROL, TEACHER, measurement

CHROMIUM = shutil.which("chromium")
EVIL = "<script>document.title = 'owned'</script>"
SERVED = (TEACHER, CONTROL, measurement("distill", 0.97, 80_000, 10e-6), measurement("quantize", 0.97, 20_000, 8e-6))


def trial(ratio: float, accuracy: float, latency_s: float, *, is_proven: bool) -> Trial:
    return Trial(
        settings={"prune.ratio": ratio, "distill.student.hidden": [256, 128]},
        outcome="measured",
        accuracy=accuracy,
        low=accuracy - 0.01,
        high=accuracy + 0.01,
        drop=0.98 - accuracy,
        p_value=0.01,
        is_proven=is_proven,
        size_bytes=20_000,
        latency_s={1: latency_s, 32: 10 * latency_s},
        latency_interval_s={1: (0.95 * latency_s, 1.1 * latency_s)},
    )


def searched(*, is_proven: bool = True) -> SearchResult:
    trials = (
        trial(0.3, 0.975, 12e-6, is_proven=is_proven),
        trial(0.5, 0.97, 8e-6, is_proven=is_proven),
        trial(0.7, 0.9, 5e-6, is_proven=False),
        Trial(
            settings={"prune.ratio": 0.9, "distill.student.hidden": [8]},
            outcome="stopped",
            note="after 20 % of its training",
        ),
        Trial(settings={"prune.ratio": 0.95, "distill.student.hidden": [8]}, outcome="failed", note=EVIL),
    )
    return SearchResult(
        target="latency", batch_size=1, max_drop=0.01, confidence=0.95, chosen=1, is_proven=is_proven, trials=trials
    )


def found(num_classes: int = 3, search: SearchResult | None = None) -> Findings:
    return Findings(
        losses={"teacher": (2.0, 1.0, 0.5), EVIL: (2.0, 1.5)},
        differences=(
            Difference(
                reference="teacher", other="quantize", num_lost=8, num_won=3, num_samples=500, drop=0.01, low=-0.003,
                high=0.024,
            ),
        ),
        confusion=tuple(
            tuple(10 if row == column else (row + column) % 2 for column in range(num_classes))
            for row in range(num_classes)
        ),
        layers=(Layer(name="0.weight", shape=(64, 32), sparsity=0.25, datatype="INT8", sensitivity=0.0012),),
        search=search,
    )  # fmt: skip


def manifest(**fields: Any) -> Manifest:
    settings: dict[str, Any] = {
        "name": "toy",
        "version": "3",
        "created": "2026-01-01T00:00:00Z",
        "recipe": {"name": "toy", "note": EVIL, "search": None},
        "inputs": (TensorSpec(name="x", datatype="FP32", shape=("batch", 4)),),
        "outputs": (TensorSpec(name="y", datatype="FP32", shape=("batch", 3)),),
        "labels": ("cat", "dog", EVIL),
        "measurements": SERVED,
        "machine": Machine(cpu="Some CPU", num_cpus=2),
        "libraries": {"torch": "2.13.0"},
        "findings": found(search=searched()),
        "files": {"model.onnx": FileEntry(size_bytes=1, sha256="0" * 64)},
    }
    return Manifest(**settings | fields)


def test_nothing_is_loaded_and_nothing_runs() -> None:
    text = page.render(manifest())
    assert not re.search(r"https?:|src=|href=|@import|url\(", text)
    assert "<script" not in text
    assert text.count("&lt;script") >= 4, "of a label, a note, a setting and a step"


@pytest.mark.parametrize("measurements", [SERVED, SERVED[:1], ()])
@pytest.mark.parametrize("findings", [Findings(), found(), found(search=searched(is_proven=False))])
def test_every_part_may_be_missing(measurements: tuple[Measurement, ...], findings: Findings) -> None:
    text = page.render(manifest(measurements=measurements, findings=findings, recipe=None, machine=None))
    assert "toy 3" in text
    assert ("Steps" in text) is bool(measurements)
    assert "None" not in text


def test_the_verdict_on_the_budget_is_in_the_headline() -> None:
    assert "<strong>proven</strong><span>loses at most 1 point, 95 % confidence" in page.render(manifest())
    unproven = page.render(manifest(findings=found(search=searched(is_proven=False))))
    assert '<strong class="bad">not proven</strong>' in unproven
    assert "They do not prove that" in unproven


def test_only_the_weakest_of_many_classes_are_listed() -> None:
    text = page.render(manifest(labels=None, findings=found(num_classes=50)))
    assert f"The weakest {page.MAX_CLASSES} of 50 classes" in text
    assert "Confusions" not in text


def test_recall_and_precision_are_those_of_the_table() -> None:
    confusion = ((8, 2, 0), (1, 9, 0), (0, 5, 5))
    first, second, third = page._classes(manifest(findings=Findings(confusion=confusion)))
    assert (first.recall, first.precision) == pytest.approx((0.8, 8 / 9))
    assert (second.recall, second.precision) == pytest.approx((0.9, 9 / 16))
    assert (third.recall, third.precision) == pytest.approx((0.5, 1))


def test_dots_lie_where_their_numbers_are() -> None:
    dots = [
        plots.Dot(x=x, y=y, low=y, high=y, left=x, right=x, kind="step")
        for x, y in ((1e-6, 0.9), (1e-5, 0.95), (1e-4, 1.0))
    ]
    svg = plots.scatter(dots, x_text=str, x_name="x", y_text=str, y_name="y")
    circles = [each for each in ElementTree.fromstring(svg).iter() if each.tag.endswith("circle")]
    across, up = ([float(each.attrib[name]) for each in circles] for name in ("cx", "cy"))
    assert across[1] == pytest.approx((across[0] + across[2]) / 2, abs=0.1), "a logarithmic axis"
    assert up[1] == pytest.approx((up[0] + up[2]) / 2, abs=0.1)
    assert plots.LEFT < across[0] < across[2] < plots.RIGHT
    assert plots.BOTTOM > up[0] > up[2] > plots.TOP


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [-3.0, 1e6], [0.98, 0.981]])
def test_axes_have_round_ticks_inside(values: list[float]) -> None:
    axis = plots.linear_axis(values, 0, 100)
    assert 1 <= len(axis.ticks) <= 11
    assert all(axis.first <= tick <= axis.last for tick in axis.ticks)
    assert all(0 <= axis(value) <= 100 for value in values)
    step = axis.ticks[1] - axis.ticks[0] if len(axis.ticks) > 1 else 1.0
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize(
    ("width", "scheme", "brightness"), [(360, "light", (600, 765)), (360, "dark", (0, 150)), (1280, "dark", (0, 150))]
)
def test_report_fits_a_phone_and_follows_the_colour_scheme(
    browser: Any, tmp_path: Path, width: int, scheme: str, brightness: tuple[int, int]
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page.render(manifest()), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened, requests = context.new_page(), []
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(path.as_uri())
    assert requests == [path.as_uri()]
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.title() == "toy 3 · report"
    colour = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert brightness[0] <= sum(map(int, re.findall(r"\d+", colour)[:3])) <= brightness[1]
    context.close()


def test_an_error_is_told_in_its_own_units_and_the_budget_lies_above_the_teachers() -> None:
    def error(measured: Measurement) -> Measurement:
        about = {"metric": "mse", "is_share": False, "lower_is_better": True}
        return measured.model_copy(update={"quality": measured.quality.model_copy(update=about)})

    search = searched().model_copy(update={"measure": "mse", "is_share": False, "max_drop": 0.25})
    lost = Difference(
        reference="teacher", other="quantize", num_samples=500, drop=0.125, low=0.1, high=0.15, is_share=False
    )
    apart = lost.model_copy(
        update={"reference": "control", "other": "distill", "drop": -0.5, "low": -0.6, "high": -0.4}
    )
    findings = found(search=search).model_copy(update={"differences": (lost, apart)})
    made = manifest(measurements=tuple(map(error, SERVED)), findings=findings)
    text = page.render(made)
    assert "<th>mse</th>" in text
    assert "<th>validation mse</th><th>lost</th>" in text
    assert "0.25 of mse lost" in text
    assert "-0.125</td><td>-0.15 to -0.1</td><td></td><td></td><td>500" in text
    assert "against the teacher: 0.125 worse on the same 500 examples" in text
    assert "distillation: 0.5 better against the no-teacher control (95 % interval +0.4 to +0.6)" in text
    assert not re.search(r"\d points", text)
    assert page._floor(error(TEACHER).quality, search) == TEACHER.quality.value + 0.25
