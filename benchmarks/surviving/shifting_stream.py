"""The loop closed, end to end: what a model is asked shifts, an alert fires, and a better version answers, unattended.

A small classifier is made by a recipe and served; clients ask it rows whose right answers they know and send as
feedback. Then the rows move to where it was never taught, and `python -m deployments retrain` does the rest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import yaml
from numpy.typing import NDArray

from benchmarks.servers import Server, trimtab
from benchmarks.throughput import Figures
from deployments.commands.client import Client
from deployments.errors import CallError
from deployments.retraining import journal
from deployments.retraining.training import Training
from optimization.artifact import store
from optimization.measuring.evaluate import wilson

NAME, WIDTH = "shifting", 8
ROWS, BATCH, EVERY_S = 4500, 8, 0.1
"""Rows that the first version learns from; rows of a request; seconds from one request to the next."""
SHIFT = 2.0
"""By how much the rows move."""
BEFORE_S, AFTER_S, WITHIN_S = 20.0, 20.0, 900.0
RECIPE: dict[str, Any] = {
    "name": NAME,
    "workers": 1,
    "data": {"kind": "table", "train": "{gathered}/train.parquet", "held_out": "{gathered}/held_out.parquet"},
    "teacher": {
        "model": {"kind": "mlp", "hidden": [96]},
        "training": {"epochs": 30, "learning_rate": 0.005, "weight_decay": 0.1},
    },
    "steps": [
        {
            "kind": "distill",
            "student": {"kind": "mlp", "hidden": [48]},
            "training": {"epochs": 30, "learning_rate": 0.005, "weight_decay": 0.1},
        }
    ],
}
_JSON = {"Content-Type": "application/json"}


def loop_figures(_: argparse.Namespace) -> Figures:
    """Minutes from the alert to the version that answers; how often answers were right before the shift, from the
    shift until then, and after.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _first_version(folder)
        artifact = store.load(store.find(folder / "artifacts", NAME))
        samples = {"folder": str(folder / "samples"), "max_per_s": 1000}
        rollout = {"canary": [10, 50], "auto": True, "step_s": 10, "window_s": 2, "analysis": _ANY_ANSWERS}
        environment = {"XDG_STATE_HOME": str(folder)}
        settings: dict[str, Any] = {"samples": samples, "feedback": {}, "rollout": rollout, "version": None}
        with trimtab(artifact, environment=environment, **settings) as server, _asked(server) as stream:
            time.sleep(BEFORE_S)
            with _loop(folder, server) as loop:
                shifted_s = time.time()
                stream.shift = SHIFT
                loop.wait(WITHIN_S)
            ended = next(reversed(journal.read(folder / "state").values()), None)
            if ended is None or ended.phase != "promoted":
                said = (folder / "loop").read_text()
                raise RuntimeError(f"the new version must be promoted, got {_told(ended)}\n{said}")
            time.sleep(AFTER_S)
    promoted_s = ended.since_s
    times = {"before": (0.0, shifted_s), "during": (shifted_s, promoted_s), "after": (promoted_s, float("inf"))}
    right = {when: stream.right(*time_s) for when, time_s in times.items()}
    print(_told(ended), *(f"right {when}: {_share(*counts)}" for when, counts in right.items()), sep="\n", flush=True)
    print(f"{stream.num_failed} of {stream.num_requests} requests failed", flush=True)
    return {
        "loop_minutes": (promoted_s - ended.decisions[0].at_s) / 60,
        **{f"loop_quality_{when}": num_right / num_rows for when, (num_right, num_rows) in right.items()},
    }


KEYS = ("loop_minutes", "loop_quality_before", "loop_quality_during", "loop_quality_after")
_ANY_ANSWERS = {"most_changed": None, "answers_margin": None}


def _first_version(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, number in (("train", ROWS), ("held_out", ROWS // 4)):
        rows, labels = _drawn(rng, number, 0.0)
        columns = {f"x{at}": column for at, column in enumerate(rows.T)}
        pyarrow.parquet.write_table(pyarrow.table({**columns, "label": labels}), folder / f"{name}.parquet")
    text = yaml.safe_dump(RECIPE)
    (folder / "recipe.yaml").write_text(text)
    (folder / "first.yaml").write_text(text.replace("{gathered}", str(folder)))
    command = [sys.executable, "-m", "optimization", "run", str(folder / "first.yaml")]
    command += ["--artifacts", str(folder / "artifacts"), "--runs", str(folder / "runs")]
    made = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if made.returncode:
        raise RuntimeError(f"the first version must be made, got {made.returncode}: {made.stderr[-1000:]}")


def _drawn(rng: np.random.Generator, number: int, shift: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows whose first two numbers lie around `shift`, and the class of each, which hangs on the row alone."""
    rows = rng.normal(size=(number, WIDTH)).astype(np.float32)
    rows[:, :2] += shift
    scores = [
        np.sin(1.2 * rows[:, 0]) + 0.5 * rows[:, 2],
        np.cos(1.2 * rows[:, 1]) + 0.5 * rows[:, 3],
        0.6 * rows[:, 4],
    ]
    return rows, np.argmax(scores, axis=0).astype(np.int64)


@dataclass(kw_only=True)
class _Stream:
    """Clients, and what became of their requests."""

    shift: float = 0.0
    num_requests: int = 0
    num_failed: int = 0
    rows: list[tuple[float, int]] = field(default_factory=list)
    """When a request was answered, and how many of its rows were right."""

    def right(self, since_s: float, until_s: float) -> tuple[int, int]:
        """How many answers of that time were right, and how many there were."""
        counts = [right for at_s, right in self.rows if since_s <= at_s < until_s]
        return sum(counts), BATCH * len(counts)


@contextmanager
def _asked(server: Server) -> Iterator[_Stream]:
    stream, over = _Stream(), threading.Event()
    thread = threading.Thread(target=_ask_on, args=(server, stream, over))
    thread.start()
    try:
        yield stream
    finally:
        over.set()
        thread.join()


def _ask_on(server: Server, stream: _Stream, over: threading.Event) -> None:
    """Ask, and send the right answers as feedback."""
    client, rng = Client(url=server.url), np.random.default_rng(1)
    first = client.get(f"/v2/models/{NAME}")["inputs"][0]
    spec = {"name": first["name"], "datatype": first["datatype"]}
    while not over.wait(EVERY_S):
        rows, labels = _drawn(rng, BATCH, stream.shift)
        number = stream.num_requests = stream.num_requests + 1
        tensor = {**spec, "shape": list(rows.shape), "data": rows.ravel().tolist()}
        try:
            body = json.dumps({"id": f"r{number}", "inputs": [tensor]}).encode()
            answer = json.loads(client.ask("POST", f"/v2/models/{NAME}/infer", body, _JSON)[1])
            told = [{"id": f"r{number}", "row": at, "label": int(label)} for at, label in enumerate(labels)]
            client.ask("POST", f"/v2/models/{NAME}/feedback", json.dumps({"labels": told}).encode(), _JSON)
        except CallError as error:
            stream.num_failed += 1
            print(f"failed: {error}", flush=True)
            continue
        answered = np.array(answer["outputs"][0]["data"]).reshape(BATCH, -1).argmax(axis=1)
        stream.rows.append((time.time(), int((answered == labels).sum())))


@contextmanager
def _loop(folder: Path, server: Server) -> Iterator[subprocess.Popen[bytes]]:
    settings = {
        "model": NAME,
        "recipe": "recipe.yaml",
        "samples": "samples",
        "artifacts": "artifacts",
        "state": "state",
        "url": server.url,
        "least_rows": 6000,
        "gather_s": 300,
        "most_slowdown": 2.0,
        "rollout": {"analysis": _ANY_ANSWERS},
        "poll_s": 1.0,
    }
    (folder / "retrain.yaml").write_text(yaml.safe_dump(settings))
    with (folder / "loop").open("wb") as output:
        command = [sys.executable, "-m", "deployments", "retrain", str(folder / "retrain.yaml"), "--once"]
        without_cluster = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=without_cluster)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _share(num_right: int, num_rows: int) -> str:
    low, high = wilson(num_right, num_rows)
    return f"{num_right / num_rows:.1%} (95 % interval {low:.1%} to {high:.1%}) of {num_rows:,} rows"


def _told(ended: Training | None) -> str:
    if ended is None:
        return "no training"
    began_s = ended.decisions[0].at_s
    return "\n".join(f"  {each.at_s - began_s:6.1f} s {each.phase}: {each.text}" for each in ended.decisions)
