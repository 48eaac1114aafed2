"""A recipe followed by a process of its own, behind all others of its host, within a budget of processor time."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import yaml

from deployments.errors import SettingsError

logger = logging.getLogger(__name__)

GATHERED = "{gathered}"
PROCESS, OUTPUT = "process.json", "output.txt"
EVERY_S = 1.0
GRACE_S = 30.0
"""Seconds that a process has to end in order before it is killed."""


class RecipeError(Exception):
    """The recipe made no version; the message says why."""


def prepared(recipe: Path, gathered: Path, target: Path) -> int:
    """Write the recipe with the folder of the gathered rows in it; the processors that it asks for.

    Raises:
        SettingsError: it cannot be read, or does not say where the rows go.
    """
    try:
        text = recipe.read_text(encoding="utf-8")
        given = yaml.safe_load(text.replace(GATHERED, str(gathered)))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"recipe must be a YAML file, got {recipe}: {error}") from error
    if GATHERED not in text or not isinstance(given, dict):
        raise SettingsError(f"recipe must say where {GATHERED} goes, such as data.train: {GATHERED}/train.parquet")
    target.write_text(text.replace(GATHERED, str(gathered)), encoding="utf-8")
    return int(given.get("workers", 2)) * int(given.get("cpus_per_worker", 1))


def command(recipe: Path, *, artifacts: Path, runs: Path, nice: int) -> list[str]:
    """What follows a recipe until it has published below `artifacts`; what it did before is not done again."""
    follow = [sys.executable, "-m", "optimization", "run", str(recipe), "--artifacts", str(artifacts)]
    return ["nice", "-n", str(nice), *follow, "--runs", str(runs)]


def followed(
    command: Sequence[str],
    folder: Path,
    *,
    home: Path,
    num_cpus: int,
    left_s: float,
    spent: Callable[[float], None],
    is_wanted: Callable[[], bool],
    wait: Callable[[float], None],
) -> None:
    """Run a recipe's `command` in the directory `home`; `folder` is for its output and its number.

    `left_s` are the seconds of a processor that it may still take: of what it takes, `spent` is told. On a cluster that
    runs (`RAY_ADDRESS`) its workers are no children of it: it is charged for its time on all processors it asks for.

    Raises:
        RecipeError: it failed, took too much, or is wanted no more.
    """
    end_old(folder)
    with (folder / OUTPUT).open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=home,
            start_new_session=True,
        )
    try:
        own = psutil.Process(process.pid)
        (folder / PROCESS).write_text(json.dumps({"pid": own.pid, "created_s": own.create_time()}))
        meter = _Meter(own, num_cpus if "RAY_ADDRESS" in os.environ else 0)
        while process.poll() is None:
            wait(EVERY_S)
            taken_s = meter.taken_s()
            spent(taken_s)
            if taken_s > left_s:
                raise RecipeError(f"the recipe took more than the {left_s / 3600:.3g} hours of a processor that it may")
            if not is_wanted():
                raise RecipeError("the loop was ended")
    finally:
        _end(process.pid)
        process.wait()
        (folder / PROCESS).unlink(missing_ok=True)
    if process.returncode not in (0, 3):
        raise RecipeError(f"the recipe ended with {process.returncode}: {_last_words(folder / OUTPUT)}")


def end_old(folder: Path) -> None:
    """End what a loop that was killed left running."""
    try:
        told = json.loads((folder / PROCESS).read_text())
        old = psutil.Process(told["pid"])
        is_same = abs(old.create_time() - told["created_s"]) < 1.0
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return
    if is_same:
        logger.info("ending the recipe that an earlier loop began, process %d", old.pid)
        _end(old.pid)


class _Meter:
    """Seconds of a processor that a process and all below it took; what has ended counts on."""

    def __init__(self, process: psutil.Process, num_cpus: int) -> None:
        self._process = process
        self._num_cpus = num_cpus
        self._taken: dict[tuple[int, float], float] = {}

    def taken_s(self) -> float:
        for each in _family(self._process):
            try:
                times = each.cpu_times()
                self._taken[each.pid, each.create_time()] = times.user + times.system
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        charged_s = 0.0
        if self._num_cpus and self._process.is_running():
            charged_s = self._num_cpus * (time.time() - self._process.create_time())
        return max(charged_s, sum(self._taken.values()))


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _end(pid: int) -> None:
    """End a process in order, as Ctrl-C does, and then what it left."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    family = _family(process)
    try:
        process.send_signal(signal.SIGINT)
        process.wait(GRACE_S)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        logger.debug("process %d is ended at once", pid)
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, GRACE_S)


def _last_words(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
