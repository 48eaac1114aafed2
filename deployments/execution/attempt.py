"""Loads an artifact's model and warms it up, as a replica does, and ends: by a signal, if that is what the model does.

python -m deployments.execution.attempt FOLDER PART THREADS BATCH ACCELERATOR
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deployments.execution.graph_session import Accelerator
from deployments.execution.local_storage import local_folder
from deployments.execution.prepack import cache_folder
from deployments.execution.session import Session
from deployments.replicas.trial import ProcessTrial
from deployments.settings import ModelSettings
from optimization.artifact.store import load

NICENESS = 10
"""Requests that are answered beside it go first."""


def trial_of(settings: ModelSettings, *, has_gpu: bool, part: int | None = None) -> ProcessTrial:
    """Trials of versions that `load_predictor` would load so."""
    return ProcessTrial(_command(settings, has_gpu=has_gpu, part=part), local_folder("trimtab-trials"))


def _command(settings: ModelSettings, *, has_gpu: bool, part: int | None) -> Callable[[Path], Sequence[str]]:
    accelerator = settings.accelerator if has_gpu or settings.accelerator == "gpu" else "cpu"
    numbers = (0 if part is None else part, settings.num_threads, settings.max_batch_size)
    return lambda path: (sys.executable, "-m", __name__, str(path), *map(str, numbers), accelerator)


def main(folder: Path, part: int, num_threads: int, max_batch_size: int, accelerator: Accelerator) -> None:
    """Load it, and let go of it."""
    os.nice(NICENESS)
    artifact = load(folder, part=part or None)
    Session(
        artifact,
        num_threads=num_threads,
        max_batch_size=max_batch_size,
        cache=cache_folder(),
        accelerator=accelerator,
    )


if __name__ == "__main__":
    given_folder, given_part, given_threads, given_batch, given_accelerator = sys.argv[1:]
    main(Path(given_folder), int(given_part), int(given_threads), int(given_batch), given_accelerator)  # type: ignore[arg-type]
