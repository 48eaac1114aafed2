"""What every trainer does, wherever it trains."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from optimization.pruning.scores import Saliency
from optimization.report.terminal import Advance
from optimization.training.job import Job


class Trainer(Protocol):
    """Trains here, on workers, or not at all where it is known what would come of it."""

    def train(self, job: Job, advance: Advance) -> nn.Module:
        """Train the job's model, and tell of each epoch."""
        ...

    def answer(self, model: nn.Module) -> NDArray[np.float32]:
        """The model's logits on the training data."""
        ...

    def saliency(self) -> Saliency | None:
        """What the score of the job trained last gathered."""
        ...
