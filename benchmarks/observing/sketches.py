"""What watching for drift costs a replica, in CPU time: what each request pays, and what each second's rows do.

The model is a small MLP of 40 columns and 10 classes: 62 distributions. A replica that is busy for all of a second
answers as many requests as its CPU allows, and looks at as many rows as is allowed. The parts are timed one by one:
the difference of two servers' speeds is smaller than what two equal servers differ by.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson

from benchmarks.models import mlp
from benchmarks.throughput import Figures
from deployments.batching.admission import Limits
from deployments.cascade.cascade import Teacher
from deployments.execution.predictor import Predictor
from deployments.execution.session import Session
from deployments.http import asgi
from deployments.http.asgi import Call
from deployments.http.model import ModelApp
from deployments.monitoring.of_model import monitor_of
from deployments.monitoring.sampling import ROWS_PER_S, RowRate
from deployments.settings import ModelSettings
from optimization.artifact.reference.measure import reference_of
from optimization.artifact.reference.views import Views
from optimization.artifact.store import Artifact
from telemetry.emitting.emitter import Emitter

NUM_COLUMNS = 40
NUM_CALLS = 2000
PREFIX = "/v2/models/mlp"


def figures(options: argparse.Namespace) -> Figures:
    """Percent of a busy CPU."""
    num_rounds = 5 if options.quick else 30
    with tempfile.TemporaryDirectory() as folder:
        artifact = _with_reference(Path(folder))
        request_s = asyncio.run(_request_s(artifact, num_rounds))
        seen_s, rows_s = _watching_s(artifact, num_rounds)
    return {"sketch_overhead_pct": 100 * (seen_s / request_s + rows_s)}


def _with_reference(root: Path) -> Artifact:
    published = mlp(root, NUM_COLUMNS, 64)
    manifest = published.manifest
    outputs = (manifest.outputs[0].model_copy(update={"meaning": "logits"}),)
    views, rows = Views(manifest.inputs, outputs), np.random.default_rng(0).standard_normal((1000, NUM_COLUMNS))
    answered = {outputs[0].name: np.random.default_rng(1).standard_normal((1000, 10))}
    reference = reference_of(views, views.inputs({"x": rows}), views.outputs(answered))
    return Artifact(
        path=published.path, manifest=manifest.model_copy(update={"outputs": outputs, "reference": reference})
    )


async def _request_s(artifact: Artifact, num_rounds: int) -> float:
    """CPU seconds of a request that nobody watches."""
    app = _app(artifact, watch_drift=False)
    x = np.random.default_rng(2).standard_normal(NUM_COLUMNS).round(4).tolist()
    body = orjson.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, NUM_COLUMNS], "data": x}]})
    call = Call(method="POST", path=f"{PREFIX}/infer", body=body)
    app.start()
    costs = []
    for _ in range(num_rounds):
        began_s = time.process_time()
        for _ in range(NUM_CALLS):
            answer = await asgi.call(app, call, PREFIX)
            assert answer.status == 200, answer.body
        costs.append((time.process_time() - began_s) / NUM_CALLS)
    await app.stop()
    return statistics.median(costs)


def _watching_s(artifact: Artifact, num_rounds: int) -> tuple[float, float]:
    """CPU seconds that a request which is not looked at pays, and those of a second's rows: taken and counted."""
    monitor = _app(artifact, watch_drift=True).monitor
    assert monitor is not None, "the artifact has a reference"
    inputs, outputs = {"x": np.zeros((1, NUM_COLUMNS), np.float32)}, {"y": np.zeros((1, 10), np.float32)}
    seen, counted = [], []
    for _ in range(num_rounds):
        monitor._rate = RowRate(1e9)  # open, so that nobody waits for a second's rows
        began_s = time.process_time()
        for _ in range(int(ROWS_PER_S)):
            monitor.see(None, inputs, outputs)
        monitor.drain()
        counted.append(time.process_time() - began_s)
        monitor._rate.took(10**13)  # shut for hours
        began_s = time.process_time()
        for _ in range(NUM_CALLS):
            monitor.see(None, inputs, outputs)
        seen.append((time.process_time() - began_s) / NUM_CALLS)
    return statistics.median(seen), statistics.median(counted)


def _app(artifact: Artifact, *, watch_drift: bool) -> ModelApp:
    emitter = Emitter(service="mlp", version="1", role="replica", instance="i", endpoint="http://127.0.0.1:1")
    settings = ModelSettings(artifact="mlp", watch_drift=watch_drift)
    session = Session(artifact, num_threads=1, max_batch_size=8)
    predictor = Predictor(artifact.manifest, session.run, limits=Limits(max_batch_size=8), inline=True, emitter=emitter)
    monitor = monitor_of(artifact, settings, emitter, _nobody)
    return ModelApp(predictor, max_body_bytes=2**20, emitter=emitter, monitor=monitor)


def _nobody(name: str, version: str) -> Teacher:
    raise AssertionError(f"no teacher is asked here, got {name}/{version}")
