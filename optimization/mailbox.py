"""What driver and workers send each other; `train` makes the mailbox an actor. Nothing here knows Ray.

driver ── Job ──▶ Mailbox ── Job ──▶ workers
driver ◀─ Letter ─ Mailbox ◀─ Letter ─ worker of rank 0
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from optimization.distill import SoftTargets
from optimization.examples import Split
from optimization.recipe import Training
from optimization.scores import Saliency


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model to train."""

    step: str
    """What it is trained for: "teacher", "control", or the kind of the recipe's step."""
    model: nn.Module
    """Where training starts; gives logits."""
    training: Training
    seed: int
    """Seeds the order of the examples."""
    soft: SoftTargets | None = None
    """The teacher's outputs; none to learn from the labels alone."""
    score: Literal["taylor", "movement"] | None = None
    """What to gather on the way for pruning to choose by."""
    holds_zeros: bool = False
    """Whether weights that are zero stay zero."""


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What the driver finds in the mailbox."""

    losses: tuple[float, ...] = ()
    """Mean loss of each epoch that is done."""
    weights: dict[str, Tensor] | None = None
    saliency: Saliency | None = None
    """What the job's score gathered."""
    problem: str | None = None


class Mailbox:
    """An actor between driver and workers: jobs go one way, progress and weights the other."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._present: set[int] = set()
        self._jobs: list[Job] = []
        self._letter = Letter()
        self._closed = False
        self._changed = asyncio.Condition()

    async def enter(self, rank: int) -> tuple[Split, int]:
        """Note that a worker is there; give it the training data and the number of the job it begins with."""
        self._present.add(rank)
        pending = self._letter.weights is None and self._letter.problem is None
        return self._split, len(self._jobs) - 1 if self._jobs and pending else len(self._jobs)

    async def num_present(self) -> int:
        """Workers that are there."""
        return len(self._present)

    async def post(self, job: Job) -> None:
        """Offer a job to every worker."""
        async with self._changed:
            self._letter = Letter()
            self._jobs.append(job)
            self._changed.notify_all()

    async def take(self, number: int) -> Job | None:
        """Wait for the job of that number; none once the mailbox is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or len(self._jobs) > number)
            return None if self._closed else self._jobs[number]

    async def report(self, letter: Letter) -> None:
        """Replace what the driver finds."""
        self._letter = letter

    async def letter(self) -> Letter:
        """Progress of the current job, without its weights."""
        return replace(self._letter, weights={} if self._letter.weights is not None else None, saliency=None)

    async def weights(self) -> dict[str, Tensor] | None:
        """The trained weights of the current job."""
        return self._letter.weights

    async def saliency(self) -> Saliency | None:
        """What the current job's score gathered."""
        return self._letter.saliency

    async def close(self) -> None:
        """Send the workers home."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
