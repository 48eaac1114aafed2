"""What every trainer does, wherever it trains."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from optimization.artifact.findings import PrecisionChoice
from optimization.pruning.scores import Saliency
from optimization.recipe.methods import SetPrecision
from optimization.report.phases import Advance
from optimization.training.job import Job


class Trainer(Protocol):
    """Trains here, on workers, or not at all where it is known what would come of it."""

    def train(self, job: Job, advance: Advance) -> nn.Module:
        """Train the job's model, and tell of each epoch."""
        ...

    def answer(self, model: nn.Module, precision: SetPrecision) -> NDArray[np.float32]:
        """The model's logits on the training data."""
        ...

    def choice(self) -> PrecisionChoice | None:
        """The precision of what was trained or answered last, where that was left open."""
        ...

    def saliency(self) -> Saliency | None:
        """What the score of the job trained last gathered."""
        ...
