"""What a run has done so far: a directory with the newest checkpoint of each training, to go on from when stopped.

runs/<name>/<sha of the recipe>/01-teacher.checkpoint, ..., trials/<...>     runs/answers/<sha of teacher and data>.npy
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from optimization.recipe.recipe import Named
from optimization.training import checkpoint
from optimization.training.job import Job


class CheckpointStore:
    """The trainings of one recipe's run, in their order; what other runs answered is shared."""

    def __init__(self, runs: Path, recipe: Named, *, resume: bool) -> None:
        self.answers = runs / "answers"
        self._folder = runs / recipe.name / recipe.sha256[:12]
        self.trials = self._folder / "trials"
        """Where a search keeps what its trials came to."""
        self._num_trainings = 0
        if not resume:
            self.clear()

    def begin(self, job: Job) -> Job:
        """The next training, told where to keep its checkpoint, and to go on from the one that is there."""
        self._num_trainings += 1
        path = self._folder / f"{self._num_trainings:02}-{job.step}.checkpoint"
        return replace(job, kept=path, saved=path.read_bytes() if path.is_file() else None)

    def once(self, name: str, find: Callable[[], dict[str, float]]) -> dict[str, float]:
        """What `find` gives, or gave at this point before the run stopped: time measured anew would differ."""
        path = self._folder / f"{self._num_trainings:02}-{name}.json"
        if not path.is_file():
            checkpoint.write(path, json.dumps(find()).encode())
        found: dict[str, float] = json.loads(path.read_text())
        return found

    def clear(self) -> None:
        """Forget all trainings: the run starts anew, or is done."""
        for pattern in ("*.checkpoint", "*.json"):
            for path in self._folder.glob(pattern):
                path.unlink()
        shutil.rmtree(self.trials, ignore_errors=True)
