"""A cascade against its teacher: the quality it keeps, what it sends on, and its requests a second on a real server.

Student and teacher are SST-2's (`python -m benchmarks.optimization --only sst2_retention` makes them, in over an hour),
or small ones of MNIST-1D, made here from a recipe.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from benchmarks.figures.setting import RECIPES
from benchmarks.servers import infer_path, trimtab
from benchmarks.throughput import CONNECTIONS, Figures, Rounds, driver_of, in_turn, rates_of
from optimization.artifact import store
from optimization.artifact.store import Artifact
from optimization.cascade.calibrate import calibrate
from optimization.recipe import recipe
from optimization.report import compare
from optimization.report.phases import Phases
from optimization.running import run

MAX_LOSS, CONFIDENCE = 0.01, 0.95
MOST_BODIES = 500
SMALL: dict[str, Any] = {
    "data": {"kind": "mnist1d", "validation": 0.25, "unlabelled": 8000},
    "workers": 1,
    "steps": [
        {
            "kind": "distill",
            "student": {"kind": "cnn", "channels": [48, 48, 48], "hidden": [64], "kernel": 5},
            "temperature": 2,
            "alpha": 1,
            "training": {"epochs": 12, "batch_size": 100, "learning_rate": 0.003, "weight_decay": 0.01},
        }
    ],
}
"""What of the recipe `signals` is changed: a student alone, and more examples that decide."""


def figures(student: Path | None, teacher: Path | None, max_loss: float | None, rounds: Rounds) -> Figures:
    """Accuracy over the teacher's and share sent on, of held-out examples; requests/s over the teacher alone.

    Both have a replica of one thread and 32 connections that ask for held-out examples one by one, in turn.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "artifacts"
        one, other = _small(root) if student is None or teacher is None else _copied(root, student, teacher)
        made = calibrate(one, other, max_loss=MAX_LOSS if max_loss is None else max_loss / 100, confidence=CONFIDENCE)
        found = made.manifest.cascade
        assert found is not None, "it was just made"
        told = found.held_out
        print(
            f"student {told.student.value:.4f}, cascade {told.cascade.value:.4f}, teacher {told.teacher.value:.4f}; "
            f"sent on {told.sent.value:.4f} ({told.sent.low:.4f}-{told.sent.high:.4f}); lost {told.lost.value:.4f}, "
            f"at most {found.bound:.4f} with {CONFIDENCE:.0%} confidence",
            flush=True,
        )
        bodies = _bodies(one, other)
        rate, rate_in_process = (
            _rate(made, other, bodies, rounds, in_process=in_process) for in_process in (False, True)
        )
    return {
        "cascade_quality": told.cascade.value / told.teacher.value,
        "cascade_cost": told.sent.value,
        "cascade_rate": rate,
        "cascade_rate_in_process": rate_in_process,
    }


def _rate(cascade: Artifact, teacher: Artifact, bodies: list[bytes], rounds: Rounds, *, in_process: bool) -> float:
    """Requests a second over those of the teacher alone, which the same server answers in turn.

    Raises:
        RuntimeError: a request failed.
    """
    settings = {"teacher": teacher.manifest.name, "in_process": in_process}
    with trimtab(cascade, beside=[teacher], cascade=settings) as server:
        paths = {"cascade": infer_path(cascade), "teacher": infer_path(teacher)}
        targets = {name: driver_of(server.http_port, path, bodies) for name, path in paths.items()}
        found = in_turn(targets, rounds, CONNECTIONS)
        if failed := sum(each.num_failed for loads in found.values() for each in loads):
            raise RuntimeError(f"{failed} requests failed; the log ends:\n{server.log.read_text()[-3000:]}")
    rates = rates_of(found)
    return rates["cascade"] / rates["teacher"]


def _small(root: Path) -> tuple[Artifact, Artifact]:
    raw = yaml.safe_load((RECIPES / "signals.yaml").read_text()) | SMALL
    raw["teacher"] |= {"publish": True}
    raw["teacher"]["training"] |= {"epochs": 15}
    wanted = recipe.parse(raw)
    with Phases(Console(stderr=True)) as phases:
        student = run.run(wanted, root, phases)
    return student, store.load(store.find(root, f"{wanted.name}-teacher"))


def _copied(root: Path, *given: Path) -> tuple[Artifact, ...]:
    """The artifacts, where the student may get another version."""
    found = [store.load(each) for each in given]
    paths = [root / each.manifest.name / each.manifest.version for each in found]
    for each, path in zip(found, paths, strict=True):
        shutil.copytree(each.path, path)
    return tuple(store.load(path) for path in paths)


def _bodies(student: Artifact, teacher: Artifact) -> list[bytes]:
    """Requests for held-out examples, one each."""
    held_out = compare.dataset_of(student, teacher).held_out
    types = {spec.name: spec.datatype for spec in student.manifest.inputs}
    rows = np.random.default_rng(0).permutation(len(held_out))[:MOST_BODIES]
    return [
        json.dumps(
            {
                "inputs": [
                    {"name": name, "datatype": types[name], "shape": list(array.shape), "data": array.ravel().tolist()}
                    for name, array in held_out.batch(rows[number : number + 1]).items()
                ]
            }
        ).encode()
        for number in range(len(rows))
    ]
