"""What a run would do, and about how long its training would take, from a few real steps of each part of it.

A step is timed in this process as one of the recipe's workers would do it: on one thread, with its share of the batch,
by the very loop that trains. What the teacher adds to a step, exporting and measuring are not counted; a step after a
cut is timed on the model as it was before.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch
from rich.console import Console
from torch import nn

from optimization.distillation import students
from optimization.networks import models
from optimization.readers.examples import Dataset
from optimization.recipe.methods import Training
from optimization.recipe.recipe import Recipe
from optimization.recipe.settings import Settings
from optimization.report import terminal
from optimization.report.phases import duration
from optimization.search import space
from optimization.search.space import Variant
from optimization.training.job import Job
from optimization.training.loop import Place, fit, num_batches

_NUM_STEPS = 4
"""Steps that are timed; the first does not count."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """One training of a run."""

    step: str
    num_epochs: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The trainings of a run: the teacher's and the control's, and those of each trial, or of the recipe itself."""

    once: tuple[Stretch, ...]
    trials: tuple[tuple[Stretch, ...], ...]
    num_at_once: int
    """Trials that run side by side."""

    @property
    def seconds(self) -> float:
        """All of it, if no trial is stopped early."""
        tried = sum(each.seconds for trial in self.trials for each in trial)
        return sum(each.seconds for each in self.once) + tried / self.num_at_once


@dataclass(frozen=True, kw_only=True)
class _Durations:
    """A meter that keeps what a step takes."""

    seconds: list[float] = field(default_factory=list)

    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:  # noqa: ARG002
        """Keep one."""
        self.seconds.append(duration_s)


def estimate(recipe: Recipe, variants: Sequence[Variant], dataset: Dataset) -> Estimate:
    """Time a few steps of each training; nothing of a recipe that trains nothing."""
    if recipe.teacher.model is None:
        return Estimate(once=(), trials=(), num_at_once=1)
    torch.set_num_threads(1)
    trials = tuple(tuple(_students(each.recipe, dataset, num_workers=1)) for each in variants)
    torch.set_num_threads(recipe.cpus_per_worker)
    once: list[Stretch] = []
    if recipe.teacher.training is not None:
        teacher, training = models.build(recipe.teacher.model, dataset, recipe.seed), recipe.teacher.training
        once.append(_stretch("teacher", teacher, training, training.epochs, dataset, recipe.workers))
    alone = tuple(_students(recipe, dataset, num_workers=recipe.workers))
    for student, (training, _) in zip(alone[:1], space.trainings(recipe).values(), strict=False):
        share = training.epochs / student.num_epochs  # of several stages, the last
        once.append(Stretch(step="control", num_epochs=training.epochs, seconds=share * student.seconds))
    num_at_once = min(len(trials), max(recipe.workers, os.cpu_count() or 1)) if trials else 1
    return Estimate(once=tuple(once), trials=trials or (alone,), num_at_once=num_at_once)


def show(console: Console, recipe: Recipe, variants: Sequence[Variant], found: Estimate) -> None:
    """Print the steps, what is trained, and about how long that takes."""

    def line(name: str, text: object) -> None:
        console.print(f"  {name:<9} {text}", highlight=False, soft_wrap=True)

    console.print(f"{recipe.name}: {recipe.data.kind}, seed {recipe.seed}, {recipe.workers} workers")
    model = recipe.teacher.model
    line("teacher", recipe.teacher.onnx if model is None else _settings(model))
    for step in recipe.steps:
        line(step.kind, _settings(step, without={"kind"}))
    if recipe.search is not None:
        budget = recipe.search.budget
        lost, confidence = terminal.points(budget.max_drop), f"{100 * budget.confidence:g} % confidence"
        line("search", f"least {recipe.search.target} with at most {lost} lost ({confidence}), {len(variants)} trials:")
        for number, each in enumerate(variants):
            line("", f"{terminal.settings(each.settings)}: {_parts(found.trials[number:][:1])}")
    line("training", _parts([found.once, *([] if variants else found.trials)]))
    if found.seconds:
        early = f", {found.num_at_once} trials at a time and none stopped early" if variants else ""
        line("time", f"about {duration(found.seconds)} of training{early}, by {_NUM_STEPS} steps of each part here")


def _students(recipe: Recipe, dataset: Dataset, *, num_workers: int) -> Iterator[Stretch]:
    assert recipe.teacher.model is not None, "an ONNX file has no students"
    student = models.build(recipe.teacher.model, dataset, recipe.seed)
    if recipe.distill is not None:
        student = students.build(recipe.distill.student, student, dataset, recipe.seed)
    for step, (training, num_epochs) in space.trainings(recipe).items():
        yield _stretch(step, student, training, num_epochs, dataset, num_workers)


def _stretch(
    step: str, model: nn.Module, training: Training, num_epochs: int, dataset: Dataset, num_workers: int
) -> Stretch:
    share = max(1, training.batch_size // num_workers)
    rows = np.random.default_rng(0).permutation(len(dataset.train))[: _NUM_STEPS * share]
    part = training.model_copy(update={"epochs": 1, "batch_size": share, "sharded": False})
    job = Job(step=step, model=model, training=part, seed=0, task=dataset.task, augmentation=dataset.augmentation)
    durations = _Durations()
    for _ in fit(job, dataset.train.take(rows), durations, Place()):
        pass
    step_s = median(durations.seconds[1:] or durations.seconds)
    num_steps = num_epochs * num_batches(len(dataset.stream or dataset.train), training.batch_size)
    return Stretch(step=step, num_epochs=num_epochs, seconds=step_s * num_steps)


def _settings(settings: Settings, without: set[str] | None = None) -> str:
    """What a recipe sets, as it writes it."""
    return terminal.plain(settings.model_dump(mode="json", exclude=without, exclude_defaults=True))


def _parts(trainings: Sequence[Sequence[Stretch]]) -> str:
    parts = (f"{each.step} {each.num_epochs} epochs {duration(each.seconds)}" for one in trainings for each in one)
    return ", ".join(parts) or "nothing is trained"
