"""One model to train, with all that its training depends on. Nothing here knows Ray."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import nn

from optimization.artifact.findings import PrecisionChoice
from optimization.distillation.targets import SoftTargets
from optimization.readers.examples import Augmentation, Stream
from optimization.recipe.methods import Training
from optimization.tasks.classification import Classification
from optimization.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model to train."""

    step: str
    """What it is trained for: "teacher", "control", or the kind of the recipe's step."""
    model: nn.Module
    """Where training starts; gives logits."""
    training: Training
    seed: int
    """Seeds the order of the examples, their augmentation and dropout."""
    first_epoch: int = 0
    """Number of the first epoch: a further stage goes on with the order where the one before ended."""
    task: Task = field(default_factory=Classification)
    """What the model is for, which says what its losses are."""
    soft: SoftTargets | None = None
    """The teacher's outputs; none to learn from the labels alone."""
    repeats_labelled: bool = False
    """Whether labelled examples come again in the place of those without a label: as many steps as with a teacher."""
    score: Literal["taylor", "movement"] | None = None
    """What to gather on the way for pruning to choose by."""
    holds_zeros: bool = False
    """Whether weights that are zero stay zero."""
    stream: Stream | None = None
    """The training examples, where they do not lie in memory."""
    augmentation: Augmentation | None = None
    """What is done to training pictures."""
    is_question: bool = False
    """Whether the model only answers the training data, and learns nothing."""
    choice: PrecisionChoice | None = None
    """What was found for such a model before, where the training leaves its precision open; none to try."""
    saved: bytes | None = None
    """Checkpoint of an epoch to go on from."""
    kept: Path | None = None
    """Where the driver keeps the newest checkpoint."""
