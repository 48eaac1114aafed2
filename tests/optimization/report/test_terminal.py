from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from optimization.artifact.findings import Difference, Findings, Speedup
from optimization.artifact.manifest import FileEntry, Manifest, Measurement, Quality, TensorSpec
from optimization.artifact.store import Artifact
from optimization.report import terminal


def measurement(step: str, right: float, size_bytes: int, latency_s: float) -> Measurement:
    return Measurement(
        step=step,
        quality=Quality(metric="accuracy", value=right, low=right - 0.01, high=right + 0.01, num_samples=100),
        num_parameters=size_bytes // 4,
        size_bytes=size_bytes,
        latency_s={1: latency_s, 32: latency_s * 10},
        latency_interval_s={1: (0.9 * latency_s, 1.1 * latency_s), 32: (9 * latency_s, 11 * latency_s)},
    )


def shown(*measurements: Measurement, **fields: Any) -> str:
    manifest = Manifest(
        name="toy",
        version="3",
        created="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        inputs=(TensorSpec(name="x", datatype="FP32", shape=("batch", 4)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=("batch", 2)),),
        measurements=measurements,
        files={"model.onnx": FileEntry(size_bytes=1, sha256="0" * 64)},
        **fields,
    )
    console = Console(width=80, file=StringIO())
    terminal.show(console, Artifact(path=Path("artifacts/toy/3"), manifest=manifest))
    return console.file.getvalue()  # type: ignore[attr-defined]


TEACHER = measurement("teacher", 0.98, 800_000, 40e-6)
CONTROL = measurement("control", 0.95, 80_000, 10e-6)


def test_table_compares_the_teacher_with_what_is_served() -> None:
    text = shown(TEACHER, CONTROL, measurement("distill", 0.97, 80_000, 10e-6))
    assert "98.0 (97.0-99.0)" in text
    ratio = next(line for line in text.splitlines() if line.startswith(" ratio"))
    assert "10.0 ±1.0 µs" in text
    assert ratio.split() == ["ratio", "99.0%", "kept", "10.0", "x", "10.0", "x", "4.0", "x", "4.0", "x"]


def test_nothing_is_cut_off_at_eighty_columns() -> None:
    assert "…" not in shown(TEACHER, CONTROL, measurement("sparsify", 1.0, 999_999_000, 9.9999))


def test_every_number_of_the_largest_is_whole_at_eighty_columns() -> None:
    sizes = ((9.99e9, 9.994), (999_900, 99.94e-6), (99.9e6, 9.994e-3))
    steps = [
        measurement(step, 1.0, int(size_bytes), latency_s).model_copy(
            update={"quality": Quality(metric="agreement", value=1.0, low=1.0, high=1.0, num_samples=9999)}
            | {"latency_interval_s": {1: (0.1 * latency_s, 2.6 * latency_s), 32: (latency_s, 26 * latency_s)}}
        )
        for step, (size_bytes, latency_s) in zip(("teacher", "sparsify", "quantize"), sizes, strict=True)
    ]
    text = shown(*steps)
    table = text[: text.index("x FP32")]
    assert all(len(line) <= 80 for line in table.splitlines())
    words = " ".join(table.split())
    numbers = ("100.0", "(100.0-100.0)", "2.50 G", "9.99 GB", "9.99 ±12.49 s", "99.9 ±124.9 s", "250 k", "1.00 MB")
    for number in (*numbers, "99.9 ±124.9 µs", "999 ±1249 µs", "25.0 M", "99.9 MB", "9.99 ±12.49 ms", "1000.0 x"):
        assert number in words, number


def test_ratios_of_speed_are_told_with_their_intervals() -> None:
    faster = Speedup(reference="teacher", other="distill", batch_size=1, value=4.0, low=3.9, high=4.125)
    text = shown(TEACHER, measurement("distill", 0.97, 80_000, 10e-6), findings=Findings(speedups=(faster,)))
    assert "times faster than the teacher: 4.00 (3.90-4.12) at batch 1" in text


@pytest.mark.parametrize(
    ("value", "ends", "expected"),
    [
        (12.34e-6, (12.1e-6, 0.0126e-3), "12.3 (12.1-12.6) µs"),
        (0.999e-3, (0.99e-3, 1.2e-3), "999 (990-1200) µs"),
        (2.0, None, "2.00 s"),
    ],
)
def test_an_interval_has_the_unit_of_its_value(value: float, ends: tuple[float, float] | None, expected: str) -> None:
    assert terminal.interval(value, ends, "s") == expected


@pytest.mark.parametrize(
    ("student", "points", "verdict"),
    [
        (0.96, "+1.00 points", "the intervals overlap"),
        (0.99, "+4.00 points", "beyond chance"),
        (0.9, "-5.00", "chance"),
    ],
)
def test_distillation_is_set_against_the_control(student: float, points: str, verdict: str) -> None:
    text = shown(TEACHER, CONTROL, measurement("distill", student, 80_000, 10e-6))
    (line,) = (line for line in text.splitlines() if "distillation:" in line)
    assert points in line
    assert verdict in line


@pytest.mark.parametrize(("low", "high", "is_shown"), [(-0.03, -0.01, True), (-0.02, 0.004, False)])
def test_the_same_examples_tell_more_than_two_intervals(low: float, high: float, is_shown: bool) -> None:
    found = Difference(
        reference="control", other="distill", num_lost=1, num_won=2, num_samples=100, drop=-0.01, low=low, high=high
    )
    text = shown(TEACHER, CONTROL, measurement("distill", 0.96, 80_000, 10e-6), findings=Findings(differences=(found,)))
    assert f"95 % interval {-100 * high:+.2f} to +{-100 * low:.2f}" in text
    assert ("shows no difference" in text) is not is_shown


def test_int8_that_is_not_faster_is_called_so() -> None:
    slow = shown(TEACHER, measurement("prune", 0.97, 40_000, 10e-6), measurement("quantize", 0.97, 10_000, 20e-6))
    assert "4.00 x smaller file, 0.50 x the speed of fp32 at batch 1" in slow
    assert "not faster at batch 1 and batch 32" in slow
    fast = shown(TEACHER, measurement("prune", 0.97, 40_000, 20e-6), measurement("quantize", 0.97, 10_000, 10e-6))
    assert "not faster" not in fast


def test_zeros_are_not_sold_as_speed() -> None:
    sparse = measurement("sparsify", 0.97, 80_000, 10e-6).model_copy(update={"sparsity": 0.9})
    (line,) = (line for line in shown(TEACHER, CONTROL, sparse).splitlines() if "zeros:" in line)
    assert "90.0 % of the weights" in line
    assert "not the latency" in line


def test_model_that_came_as_onnx_has_no_table() -> None:
    lines = [line.strip() for line in shown().splitlines()]
    assert lines == ["x FP32 ['batch', 4] → y FP32 ['batch', 2]", "artifacts/toy/3"]
