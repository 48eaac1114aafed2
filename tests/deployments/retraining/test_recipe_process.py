"""A recipe's process: its budget, its end, and what a loop that was killed left running."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from deployments.errors import SettingsError
from deployments.retraining import recipe_process
from deployments.retraining.recipe_process import PROCESS, RecipeError, end_old, followed, prepared

BUSY = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
"""A process whose child is busy, as Ray's workers are."""


def follow(
    folder: Path, code: str, *, left_s: float = 60.0, is_wanted: Callable[[], bool] = lambda: True, num_cpus: int = 1
) -> list[float]:
    spent: list[float] = []
    followed(
        [sys.executable, "-c", code],
        folder,
        home=folder,
        num_cpus=num_cpus,
        left_s=left_s,
        spent=spent.append,
        is_wanted=is_wanted,
        wait=lambda _: time.sleep(0.05),
    )
    return spent


def busy() -> list[psutil.Process]:
    """What is left of `BUSY` below this process."""
    return [
        each for each in psutil.Process().children(recursive=True) if "while True: pass" in " ".join(each.cmdline())
    ]


def test_a_recipe_that_takes_more_than_it_may_is_ended_with_all_below_it(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="hours of a processor that it may"):
        follow(tmp_path, BUSY, left_s=0.3)
    assert not busy()
    assert not (tmp_path / PROCESS).exists()


def test_on_a_running_cluster_it_is_charged_for_all_processors_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(RecipeError, match="hours of a processor that it may"):
        follow(tmp_path, "import time; time.sleep(60)", left_s=8.0, num_cpus=100)


def test_a_recipe_that_failed_says_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"ended with 2: data\.train must exist"):
        follow(tmp_path, "import sys; print('data.train must exist'); sys.exit(2)")


def test_a_loop_that_ends_ends_its_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the loop was ended"):
        follow(tmp_path, BUSY, is_wanted=lambda: False)
    assert not busy()


def test_what_a_loop_that_was_killed_left_running_is_ended(tmp_path: Path) -> None:
    left = subprocess.Popen([sys.executable, "-c", BUSY])
    created_s = psutil.Process(left.pid).create_time()
    (tmp_path / PROCESS).write_text(json.dumps({"pid": left.pid, "created_s": created_s - 100}))
    end_old(tmp_path)
    assert left.poll() is None, "another process that has its number by now is left alone"
    (tmp_path / PROCESS).write_text(json.dumps({"pid": left.pid, "created_s": created_s}))
    end_old(tmp_path)
    left.wait(timeout=30)
    assert not busy()


def test_a_recipe_must_say_where_the_rows_go(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: tiny\n")
    with pytest.raises(SettingsError, match=r"recipe must say where \{gathered\} goes"):
        prepared(recipe, tmp_path / "rows", tmp_path / "made.yaml")
    recipe.write_text("name: tiny\nworkers: 3\ndata: {train: '{gathered}/train.parquet'}\n")
    assert prepared(recipe, tmp_path / "rows", tmp_path / "made.yaml") == 3
    assert str(tmp_path / "rows/train.parquet") in (tmp_path / "made.yaml").read_text()


def test_a_recipe_stands_back_behind_other_processes() -> None:
    command = recipe_process.command(Path("r.yaml"), artifacts=Path("a"), runs=Path("b"), nice=19)
    assert command[:3] == ["nice", "-n", "19"]
