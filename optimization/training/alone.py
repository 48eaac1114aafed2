"""Trains in this process: what a trial of a search does, and a test."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optimization.distillation.targets import teacher_logits
from optimization.errors import TrainError
from optimization.examples import Split
from optimization.pruning.scores import Saliency
from optimization.training.loop import Meter, Place, fit
from optimization.training.mailbox import Job


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
        for letter in fit(job, self._split, self._meter, Place(device=device)):
            if letter.problem is not None:
                raise TrainError(letter.problem)
            if letter.weights is None:
                advance(len(letter.losses), letter.losses[-1])
                self._heard(job.model)
            self._saliency = letter.saliency
        return job.model.cpu().eval()

    def answer(self, model: nn.Module) -> NDArray[np.float32]:
        """The model's logits on the training data."""
        return teacher_logits(model, self._split)

    def saliency(self) -> Saliency | None:
        """What the score of the job trained last gathered."""
        return self._saliency
