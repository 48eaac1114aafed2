"""The seed recipe from end to end, and what its workers report on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as services
from rich.console import Console

from optimization.artifact import store
from optimization.measuring import evaluate
from optimization.readers.examples import Dataset
from optimization.recipe.recipe import Recipe
from optimization.report.phases import Phases
from optimization.running.run import run
from telemetry import conventions
from tests.optimization.conftest import RECIPES


class Collector(services.MetricsServiceServicer):
    """Keeps every (instance, metric, step) it is sent."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str, str]] = set()

    def Export(self, request: messages.ExportMetricsServiceRequest, context: object) -> object:  # noqa: N802
        for resource in request.resource_metrics:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                for point in getattr(metric, metric.WhichOneof("data")).data_points:
                    step = {each.key: each.value.string_value for each in point.attributes}.get(conventions.STEP, "")
                    self.seen.add((about[conventions.SERVICE_INSTANCE_ID], metric.name, step))
        return messages.ExportMetricsServiceResponse()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    services.add_MetricsServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield collector
    server.stop(0)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_seed_recipe_gives_a_small_model_that_works(
    ray_cluster: None, tmp_path: Path, seed_recipe: Recipe, tumours: Dataset, collector: Collector
) -> None:
    with Phases(Console(quiet=True)) as phases:
        published = run(seed_recipe, tmp_path, phases)
    loaded = store.load(published.path)
    manifest = loaded.manifest

    assert [each.step for each in manifest.measurements] == ["teacher", "control", "distill", "quantize", "sparsify"]
    assert manifest.recipe_sha256 == seed_recipe.sha256
    assert manifest.inputs[0].shape == ("batch", 8)
    assert (manifest.outputs[0].name, manifest.outputs[0].meaning) == ("probability", "probabilities")
    assert manifest.task == "classification"
    assert {each.num_parameters for each in manifest.measurements[1:]} == {8 * 10 + 10 + 10 + 1}
    assert manifest.parity is not None
    assert manifest.parity <= 1e-4
    assert sorted(path.name for path in loaded.path.iterdir()) == [
        "example.json",
        "manifest.json",
        "model.onnx",
        "report.html",
    ]
    example = json.loads((loaded.path / store.EXAMPLE).read_text())["inputs"][0]
    assert example["shape"] == [1, 8]
    np.testing.assert_array_equal(np.float32(example["data"]).ravel(), tumours.held_out.inputs["features"][0])

    majority = np.bincount(tumours.held_out.labels).max() / len(tumours.held_out.labels)
    for each in manifest.measurements:
        assert each.quality.low > majority, f"{each.step} learned nothing"
    answers = tumours.task.answers(evaluate.predict(loaded.model_path, tumours.held_out, tumours.task, "probabilities"))
    served = evaluate.quality(answers == tumours.held_out.labels)
    assert served == manifest.measurements[-1].quality

    findings = manifest.findings
    assert [(each.reference, each.other) for each in findings.differences] == [
        ("teacher", "sparsify"), ("control", "distill"), ("quantize", "sparsify"),
    ]  # fmt: skip
    assert (
        np.trace(findings.confusion)
        == round(served.value * served.num_samples)
        == round(manifest.measurements[-1].quality.value * np.sum(findings.confusion))
    )
    assert findings.layers
    assert "seed 1" in (loaded.path / store.REPORT).read_text()

    ranks = {instance.rpartition("-")[2] for instance, _, _ in collector.seen}
    assert ranks == {"rank0", "rank1"}
    for metric in (conventions.TRAIN_STEP_DURATION, conventions.TRAIN_SAMPLES, conventions.TRAIN_LOSS):
        for rank in ranks:
            steps = {step for instance, name, step in collector.seen if name == metric.name and rank in instance}
            assert steps == {"teacher", "control", "distill"}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("after", ["load data", pytest.param("start 2 workers", marks=pytest.mark.long)])
def test_ctrl_c_stops_soon_and_leaves_no_process(tmp_path: Path, after: str) -> None:
    command = [sys.executable, "-m", "optimization", str(RECIPES / "digits.yaml")]
    command += ["--artifacts", str(tmp_path / "a"), "--runs", str(tmp_path / "runs")]
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": "120"}  # a terminal's bars, drawn as they move
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
    ) as process:
        assert process.stdout is not None
        text = ""
        while f"✓ {after}" not in text.replace("\x1b[32m", "").replace("\x1b[0m", ""):
            text += os.read(process.stdout.fileno(), 65536).decode(errors="ignore")
        time.sleep(3)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        began = time.perf_counter()
        _, stderr = process.communicate(timeout=30)
    assert time.perf_counter() - began < 20
    assert process.returncode == 130
    assert stderr.decode().splitlines()[-1] == "stopped; nothing was published"
    assert "Traceback" not in stderr.decode()
    _, alive = psutil.wait_procs(family, timeout=20)  # Ray's agents look every few seconds whether it is gone
    assert alive == []
    assert not (tmp_path / "a").exists()
