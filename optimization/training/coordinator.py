"""What passes between driver and workers; `train` makes the coordinator an actor. Nothing here knows Ray.

driver ── Job ──▶ Coordinator ── Job ──▶ workers
driver ◀─ Progress ─ Coordinator ◀─ Progress ─ worker of rank 0
"""

import asyncio
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from optimization.artifact.findings import PrecisionChoice
from optimization.pruning.scores import Saliency
from optimization.readers.examples import Split
from optimization.training.job import Job


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the driver finds in the coordinator."""

    losses: tuple[float, ...] = ()
    """Mean loss of each epoch that is done."""
    weights: dict[str, Tensor] | None = None
    saliency: Saliency | None = None
    """What the job's score gathered."""
    choice: PrecisionChoice | None = None
    """The precision that was chosen, where the job left it open."""
    checkpoint: bytes | None = None
    """What training needs to go on after this epoch."""
    problem: str | None = None


class Coordinator:
    """An actor between driver and workers: jobs go one way, progress and weights the other."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._present: set[int] = set()
        self._world: int | None = None
        self._jobs: list[Job] = []
        self._progress = Progress()
        self._checkpoint: bytes | None = None
        self._answers: dict[int, NDArray[np.float32]] = {}
        self._closed = False
        self._changed = asyncio.Condition()

    async def join(self, rank: int, world: int) -> tuple[Split, int, bytes | None]:
        """Note that a worker is there; give it the data, the number of its first job and a checkpoint to go on from."""
        self._present.add(rank)
        self._world = world
        is_pending = bool(self._jobs) and self._progress.weights is None and self._progress.problem is None
        if not is_pending:
            return self._split, len(self._jobs), None
        return self._split, len(self._jobs) - 1, self._checkpoint

    async def is_complete(self) -> bool:
        """Whether all workers are there."""
        return self._world is not None and len(self._present) >= self._world

    async def submit(self, job: Job) -> None:
        """Give every worker its next job."""
        async with self._changed:
            self._progress, self._checkpoint, self._answers = Progress(), None, {}
            self._jobs.append(job)
            self._changed.notify_all()

    async def next_job(self, number: int) -> Job | None:
        """Wait for the job of that number; none once the coordinator is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or len(self._jobs) > number)
            return None if self._closed else self._jobs[number]

    async def report(self, progress: Progress) -> None:
        """Replace what the driver finds."""
        async with self._changed:
            self._progress = replace(progress, checkpoint=None)
            self._checkpoint = progress.checkpoint or self._checkpoint
            self._changed.notify_all()

    async def add_answers(self, rows: NDArray[np.int64], logits: NDArray[np.float32]) -> None:
        """Note a worker's answers to its share of the data."""
        async with self._changed:
            self._answers |= dict(zip(rows.tolist(), logits, strict=True))
            self._changed.notify_all()

    async def answers(self) -> NDArray[np.float32]:
        """Wait for the answers to all of the data; they have its order."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._answers) >= len(self._split))
        return np.stack([self._answers[row] for row in range(len(self._split))])

    async def checkpoint(self) -> bytes | None:
        """Where the current job would go on."""
        return self._checkpoint

    async def progress(self, num_known: int) -> Progress:
        """Wait for progress of the current job beyond so many epochs, or for its end; without its weights."""

        def is_news() -> bool:
            progress = self._progress
            return len(progress.losses) > num_known or progress.weights is not None or progress.problem is not None

        async with self._changed:
            await self._changed.wait_for(is_news)
        return replace(self._progress, weights={} if self._progress.weights is not None else None, saliency=None)

    async def weights(self) -> dict[str, Tensor] | None:
        """The trained weights of the current job."""
        return self._progress.weights

    async def saliency(self) -> Saliency | None:
        """What the current job's score gathered."""
        return self._progress.saliency

    async def choice(self) -> PrecisionChoice | None:
        """The precision that was chosen for the current job, where it left that open."""
        return self._progress.choice

    async def close(self) -> None:
        """Let the workers end: there are no more jobs."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
