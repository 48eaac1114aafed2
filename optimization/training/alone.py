"""Trains in this process: what a trial of a search does, and a test."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optimization.distillation.targets import teacher_logits
from optimization.errors import TrainError
from optimization.pruning.scores import Saliency
from optimization.readers.examples import Split
from optimization.training.job import Job
from optimization.training.loop import Meter, Place, fit


class Alone:
    """Trains in this process, as the only worker; `heard` is shown the model after each epoch."""

    def __init__(self, split: Split, meter: Meter, heard: Callable[[nn.Module], None]) -> None:
        self._split = split
        self._meter = meter
        self._heard = heard
        self._saliency: Saliency | None = None

    def train(self, job: Job, advance: Callable[[int, float], None]) -> nn.Module:
        """Train `job.model` and return it.

        Raises:
            TrainError: the loss is no number any more.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for progress in fit(job, self._split, self._meter, Place(device=device)):
            if progress.problem is not None:
                raise TrainError(progress.problem)
            if progress.weights is None:
                advance(len(progress.losses), progress.losses[-1])
                self._heard(job.model)
            self._saliency = progress.saliency
        return job.model.cpu().eval()

    def answer(self, model: nn.Module) -> NDArray[np.float32]:
        """The model's logits on the training data."""
        return teacher_logits(model, self._split)

    def saliency(self) -> Saliency | None:
        """What the score of the job trained last gathered."""
        return self._saliency
