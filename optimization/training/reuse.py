"""A trainer that trains nothing twice: what was trained of equal parts is read from the store, or gone on with."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from optimization.artifact.findings import PrecisionChoice
from optimization.errors import IdentityError
from optimization.identity import content, named
from optimization.pruning.scores import Saliency
from optimization.readers.examples import Split
from optimization.recipe.methods import SetPrecision
from optimization.recipe.recipe import Recipe
from optimization.report.phases import Advance
from optimization.training import answers, identity
from optimization.training.checkpoint_store import CheckpointStore, Entry, Trained
from optimization.training.job import Job
from optimization.training.trainer import Trainer


def context(recipe: Recipe) -> dict[str, str | int]:
    """What a training hangs on beside its job: the user's own code, and among how many a batch is shared."""
    return {"workers": recipe.workers, "your code": content.of_values(named.of_code(recipe))}


class Reusing:
    """Asks `trainer` only for what the store does not have, and says what that is, and why."""

    def __init__(
        self, trainer: Trainer, split: Split, store: CheckpointStore, more: Mapping[str, str | int] | None = None
    ) -> None:
        self._trainer = trainer
        self._split = split
        self._store = store
        self._more = more or {}
        self._data: str | None = None
        self._saliency: Saliency | None = None
        self._choice: PrecisionChoice | None = None

    def train(self, job: Job, advance: Advance) -> nn.Module:
        """Train the job's model from where it stands: at its start, after some of its epochs, or at its end."""
        if self._data is None:
            self._data = identity.of_split(self._split)
        try:
            parts = identity.of_job(job, self._split, self._data, self._more)
        except IdentityError as error:
            self._store.say(f"{job.step}: not kept: {error}")
            return self._trained(job, advance)
        entry = self._store.find(job.step, parts)
        if entry.trained is not None:
            return self._reused(job, entry, entry.trained, advance)
        if entry.saved is not None:
            self._store.say(f"{entry.name}: goes on from its last epoch")
        elif entry.reason:
            self._store.say(f"{entry.name}: trained anew, changed: {entry.reason}")
        losses: list[float] = []

        def heard(num_epochs: int, loss: float) -> None:
            losses.append(loss)
            advance(num_epochs, loss)

        model = self._trained(replace(job, saved=entry.saved, kept=entry.checkpoint), heard)
        weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
        choice = None if self._choice is None else self._choice.model_dump()
        self._store.finish(entry, Trained(weights=weights, losses=losses, saliency=self._saliency, choice=choice))
        return model

    def answer(self, model: nn.Module, precision: SetPrecision) -> NDArray[np.float32]:
        """The model's logits on the training data, asked for once."""

        def ask() -> NDArray[np.float32]:
            found = self._trainer.answer(model, precision)
            self._choice = self._trainer.choice()
            return found

        self._choice = None
        try:
            parts = identity.of_answers(model, self._split, {"precision": precision, **self._more})
        except IdentityError as error:
            self._store.say(f"teacher: its answers are not kept: {error}")
            return ask()
        found = answers.once(self._store, parts, len(self._split), ask)
        return found.astype(np.float32, copy=False)

    def saliency(self) -> Saliency | None:
        """What the score of the job trained last gathered."""
        return self._saliency

    def choice(self) -> PrecisionChoice | None:
        """The precision of what was trained or answered last, where that was left open; none of answers kept."""
        return self._choice

    def _trained(self, job: Job, advance: Advance) -> nn.Module:
        model = self._trainer.train(job, advance)
        self._saliency = self._trainer.saliency() if job.score is not None else None
        self._choice = self._trainer.choice()
        return model

    def _reused(self, job: Job, entry: Entry, trained: Trained, advance: Advance) -> nn.Module:
        self._store.say(f"{entry.name}: used again, trained before ({len(trained.losses)} epochs)")
        job.model.load_state_dict(trained.weights)
        for number, loss in enumerate(trained.losses, start=1):
            advance(number, loss)
        self._saliency = trained.saliency
        self._choice = None if trained.choice is None else PrecisionChoice.model_validate(trained.choice)
        return job.model.eval()
