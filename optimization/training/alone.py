"""Trains in this process: what a trial of a search does, and a test."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optimization.artifact.findings import PrecisionChoice
from optimization.distillation.targets import faster, in_precision, teacher_logits
from optimization.errors import TrainError
from optimization.pruning.scores import Saliency
from optimization.readers.examples import Split
from optimization.recipe.methods import SetPrecision
from optimization.report.phases import Advance
from optimization.training import checkpoint
from optimization.training.job import Job
from optimization.training.loop import Meter, Place, fit


class Alone:
    """Trains in this process, as the only worker; `heard` is shown the model after each epoch."""

    def __init__(self, split: Split, meter: Meter, heard: Callable[[nn.Module], None]) -> None:
        self._split = split
        self._meter = meter
        self._heard = heard
        self._saliency: Saliency | None = None
        self._choice: PrecisionChoice | None = None

    def train(self, job: Job, advance: Advance) -> nn.Module:
        """Train `job.model` and return it.

        Raises:
            TrainError: the loss is no number any more.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        num_heard = 0
        for progress in fit(job, self._split, self._meter, Place(device=device)):
            if progress.problem is not None:
                raise TrainError(progress.problem)
            if job.kept is not None and progress.checkpoint is not None:
                checkpoint.write(job.kept, progress.checkpoint)
            for number in range(num_heard, len(progress.losses)):  # those of a checkpoint too
                advance(number + 1, progress.losses[number])
            num_heard = len(progress.losses)
            if progress.weights is None:
                self._heard(job.model)
            self._saliency, self._choice = progress.saliency, progress.choice
        return job.model.cpu().eval()

    def answer(self, model: nn.Module, precision: SetPrecision) -> NDArray[np.float32]:
        """The model's logits on the training data."""
        self._choice = faster(model, self._split) if precision == "auto" else None
        return teacher_logits(in_precision(model, precision, self._choice), self._split)

    def choice(self) -> PrecisionChoice | None:
        """The precision of what was trained or answered last, where that was left open."""
        return self._choice

    def saliency(self) -> Saliency | None:
        """What the score of the job trained last gathered."""
        return self._saliency
