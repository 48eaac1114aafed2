"""A recommender as a user makes it, while what trains it dies."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
import yaml
from rich.console import Console

from deployments.embeddings.initial import check
from deployments.embeddings.table import Table
from optimization.artifact import store
from optimization.graphs import graph
from optimization.measuring.ranking import auc
from optimization.recommenders import interactions, recipe
from optimization.recommenders.run import run
from optimization.report.phases import Phases

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]


def write_recipe(folder, **training):
    """Ratings that users and items of two tastes give each other, and a recipe for them."""
    random = np.random.default_rng(0)
    pairs = np.stack([random.integers(0, 60, 6000), random.integers(0, 40, 6000)], axis=1)
    liked = (pairs % 2).sum(axis=1) != 1
    noisy = np.where(random.random(6000) < 0.1, ~liked, liked)
    lines = [f"{user},{item},{1 + 4 * rating}" for (user, item), rating in zip(pairs.tolist(), noisy, strict=True)]
    (folder / "ratings.csv").write_text("\n".join(["user,item,rating", *lines]))
    settings = {
        "name": "tastes",
        "data": {"kind": "interactions", "train": str(folder / "ratings.csv"), "positive_from": 4},
        "embeddings": {"width": 4, "exported": str(folder / "tables")},
        "network": {"hidden": [8]},
        "training": {"epochs": 3, "batch_size": 32, "learning_rate": 0.1} | training,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(settings))
    return recipe.parse(settings)


def kill_one(command, after):
    """Kill the first process of that command, and say which it was."""
    while True:
        for process in psutil.Process().children(recursive=True):
            try:
                if " ".join(process.cmdline()).startswith(command) and process.pid not in after:
                    process.kill()
                    return process.pid
            except psutil.Error:
                continue
        time.sleep(0.2)


def test_it_learns_though_shards_and_a_worker_are_killed_and_its_tables_can_be_served(ray_cluster, tmp_path):
    wanted = write_recipe(tmp_path)

    def kill():
        killed = {kill_one("ray::RayTrainWorker", set())}
        time.sleep(3)
        for _ in range(2):
            killed.add(kill_one("ray::ShardActor", killed))
            time.sleep(4)

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    with Phases(Console(quiet=True)) as phases:
        made = run(wanted, tmp_path / "artifacts", tmp_path / "runs", phases)
    killing.join(timeout=60)
    assert not killing.is_alive()
    (measured,) = made.manifest.measurements
    assert measured.quality.value > 0.85  # of 0.9 that the noise leaves

    for path in tmp_path.glob("tables/tastes/*/*.npy"):
        rows = {"user": 60, "item": 40}[path.stem]
        check(str(path), Table(name=path.stem, rows=rows, width=4))  # as `initial` of an application

    _, held_out = interactions.load(wanted.data, wanted.seed)
    tables = {path.stem: np.load(path) for path in tmp_path.glob("tables/tastes/*/*.npy")}
    rows = {f"{name}_rows": tables[name][held_out.ids[:, number]] for number, name in enumerate(wanted.data.columns)}
    scores = graph.predict(graph.session(made.path / store.MODEL), rows)[:, 0]
    assert auc(scores, held_out.labels).value == pytest.approx(measured.quality.value)
    assert not any((tmp_path / "runs" / "tables").iterdir())


def test_a_run_that_was_stopped_goes_on_with_the_epochs_that_its_tables_have(tmp_path):
    write_recipe(tmp_path, epochs=4)
    command = [sys.executable, "-m", "optimization", str(tmp_path / "recipe.yaml")]
    folders = ["--artifacts", str(tmp_path / "artifacts"), "--runs", str(tmp_path / "runs")]
    usual = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    first = subprocess.Popen([*command, *folders], **usual)
    while not list(tmp_path.glob("runs/tables/*/progress.json")):
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    told, _ = first.communicate(timeout=60)
    assert first.returncode == 130, told
    second = subprocess.run([*command, *folders], **usual)
    assert second.returncode == 0, second.stdout
    made = store.load(store.find(tmp_path / "artifacts", "tastes"))
    assert 1 <= len(made.manifest.findings.losses["train"]) <= 3
    assert made.manifest.measurements[0].quality.value > 0.8
