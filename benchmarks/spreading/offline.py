"""Offline scoring: its speed against ONNX Runtime alone, what kills cost, and its memory as the input grows.

Each run is the command itself, on a cluster that it starts for itself. The bare loop has as many processes of one
thread, and its tokens ready in memory: what it does not pay for is reading, sorting, writing and Ray.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.models import NUM_TOKENS, minilm, passing
from benchmarks.throughput import Figures, Rounds
from optimization.artifact.session import CPU, serving_options
from optimization.artifact.store import Artifact

BATCH = 32
"""Rows of a call of the bare loop."""
KILLS = 5
SIZE = 16
"""Numbers in a row of the model that gives back its input."""
KILLED_ROWS, KILLED_CHUNK = 60_000, 200
LOOK_EVERY_S = 0.5


def speed_figures(rounds: Rounds) -> Figures:
    """Rows/s over those of the bare loop, the median of the rounds; each has one of both, one after the other."""
    num_rows = 2048 if rounds.rounds == 1 else 16_384
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        artifact = minilm(root / "artifacts", takes_text=False)
        ids = np.random.default_rng(0).integers(1000, 20000, (num_rows, NUM_TOKENS))
        columns = {"input_ids": list(ids), "attention_mask": list(np.ones_like(ids))}
        pq.write_table(pa.table(columns), root / "rows.parquet")
        for number in range(rounds.rounds):
            bare = _bare_rows_per_s(artifact.model_path, ids)
            command = _command(artifact, root, root / f"out-{number}", chunk_rows=256)
            ours: float = json.loads(_run(command))["rows_per_s"]
            print(f"{num_rows} rows: {ours:.1f} rows/s, ONNX Runtime alone {bare:.1f}", flush=True)
            ratios.append(ours / bare)
    return {"offline_over_raw": statistics.median(ratios)}


def resume_figures(_: Rounds) -> Figures:
    """Rows that are missing or there twice after `KILLS` kills at random moments and a run to the end."""
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        artifact = _with_rows(root, KILLED_ROWS)
        command = _command(artifact, root, root / "out", chunk_rows=KILLED_CHUNK)
        for number in range(KILLS):
            process = subprocess.Popen(command, env=_environment(), stdout=subprocess.DEVNULL)
            done = _done(root / "out")
            while process.poll() is None and _done(root / "out") < done + moments.randint(0, 30):
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
            process.wait()
            print(f"kill {number + 1}: {_done(root / 'out')} of {KILLED_ROWS // KILLED_CHUNK} chunks done", flush=True)
        _run(command)
        parts = [pq.read_table(part, columns=["id"]) for part in (root / "out").glob("*.parquet")]
    seen = Counter(pa.concat_tables(parts)["id"].to_pylist())
    return {"offline_resume": float(sum(abs(seen[number] - 1) for number in {*range(KILLED_ROWS), *seen}))}


def memory_figures(rounds: Rounds) -> Figures:
    """Growth of the largest memory that all processes have of their own, from an input to one of ten times as many."""
    small = 10_000 if rounds.rounds == 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        peaks = [_peak_bytes(Path(folder) / str(rows), rows) for rows in (small, 10 * small)]
    return {"offline_memory": peaks[1] / peaks[0] - 1}


def _peak_bytes(root: Path, num_rows: int) -> int:
    root.mkdir()
    artifact = _with_rows(root, num_rows)
    process = subprocess.Popen(_command(artifact, root, root / "out"), env=_environment(), stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _own_bytes(psutil.Process(process.pid)))
        time.sleep(LOOK_EVERY_S)
    if process.returncode:
        raise RuntimeError(f"scoring must end well, got exit code {process.returncode}")
    print(f"{num_rows} rows: {peak / 2**20:.0f} MiB", flush=True)
    return peak


def _own_bytes(root: psutil.Process) -> int:
    """What the process and those it has started would free by ending."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().uss
    return total


def _with_rows(root: Path, num_rows: int) -> Artifact:
    """The model that gives back its input, and an input of so many rows in one row group."""
    values = pa.array(np.random.default_rng(0).random(num_rows * SIZE, np.float32))
    lists = pa.FixedSizeListArray.from_arrays(values, SIZE)
    pq.write_table(pa.table({"id": np.arange(num_rows), "x": lists}), root / "rows.parquet")
    return passing(root / "artifacts", SIZE)


def _command(artifact: Artifact, root: Path, output: Path, chunk_rows: int | None = None) -> list[str]:
    options: dict[str, Any] = {
        "input": root / "rows.parquet",
        "output": output,
        "chunk-rows": chunk_rows,
        "niceness": "0",
    }
    words = [word for name, value in options.items() if value for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "deployments", "score", str(artifact.path), "--json", *words]


def _environment() -> dict[str, str]:
    return {**os.environ, "RAY_ADDRESS": "local"}


def _run(command: list[str]) -> str:
    return subprocess.run(command, env=_environment(), stdout=subprocess.PIPE, text=True, check=True).stdout


def _done(output: Path) -> int:
    return len(list((output / "_done").glob("[0-9]*.json")))


def _bare_rows_per_s(model: Path, ids: np.ndarray) -> float:
    """Rows/s of one bare loop for each CPU, all at once."""
    count = os.cpu_count() or 1
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(count, mp_context=context) as processes:
        ready = manager.Barrier(count)
        rates = [processes.submit(_bare_loop, str(model), part, ready) for part in np.array_split(ids, count)]
        return sum(rate.result() for rate in rates)


def _bare_loop(model: str, ids: np.ndarray, ready: Any) -> float:
    session = onnxruntime.InferenceSession(model, serving_options(1), providers=[CPU])
    batches = [ids[at : at + BATCH] for at in range(0, len(ids), BATCH)]
    feeds = [{"input_ids": batch, "attention_mask": np.ones_like(batch)} for batch in batches]
    session.run(None, feeds[0])
    ready.wait()
    began = time.perf_counter()
    for each in feeds:
        session.run(None, each)
    return len(ids) / (time.perf_counter() - began)
