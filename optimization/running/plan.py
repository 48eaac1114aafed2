"""What a run would do, and about how long it would take: what `probe` finds of each part, as often as the recipe wants.

Counted are starting, training, the teacher's answers, cutting, exporting with its check, calibrating, measuring and
publishing. Not known beforehand is whether nodes must stay in fp32: their search comes on top.
"""

import copy
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from rich.console import Console
from torch import nn

from optimization.artifact.findings import PrecisionChoice
from optimization.distillation import students, taps
from optimization.distillation.targets import SoftTargets
from optimization.graphs import export
from optimization.measuring import latency
from optimization.networks import models
from optimization.pruning import depth, prune, scores
from optimization.quantization import qat
from optimization.readers.examples import Dataset
from optimization.recipe.methods import Distill, Prune, Quantize, SetPrecision, Sparsify, Training
from optimization.recipe.recipe import Recipe
from optimization.recipe.settings import Settings
from optimization.report import terminal
from optimization.report.phases import duration
from optimization.running.probe import Probe, ServedTime, StepTime
from optimization.running.teach import TeacherAnswers, soft_targets
from optimization.search.space import Variant
from optimization.training.batches import num_batches
from optimization.training.job import Job

_END_S = 2.0
"""What workers take to end."""
_PUBLISH_S = 1.0
_WRITE_S = 1.0
"""What an INT8 file takes to be written, of which there are four: three ways of holding weights, then the last."""
_RANGING = 3
"""Times as long a call takes while ranges are found, for which every tensor is put out."""
_EXAMPLES = 256
"""That models are traced, cut and paired with, as in a run."""


class Times(Protocol):
    """What parts of a run take; `probe` finds it by trying."""

    def start_s(self) -> float:
        """What it takes until the workers take their first job."""
        ...

    def step(self, job: Job) -> StepTime:
        """What the job's training takes."""
        ...

    def answer_s(self, teacher: nn.Module, wanted: SetPrecision) -> float:
        """What the teacher takes for its answer to one example."""
        ...

    def served(self, model: nn.Module) -> ServedTime:
        """What the model takes as an ONNX file."""
        ...


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a run."""

    name: str
    seconds: float
    num_epochs: int = 0
    """Of a training."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The parts of a run: those that come once, and those of each trial, or of the recipe itself."""

    once: tuple[Part, ...]
    trials: tuple[tuple[Part, ...], ...]
    num_at_once: int
    """Trials that run side by side."""

    @property
    def seconds(self) -> float:
        """All of it, if no trial is stopped early."""
        tried = sum(each.seconds for trial in self.trials for each in trial)
        return sum(each.seconds for each in self.once) + tried / self.num_at_once


def probed(recipe: Recipe, variants: Sequence[Variant], dataset: Dataset, spent_s: float) -> Estimate:
    """The estimate by what is tried on this machine now."""
    times = Probe(dataset, num_workers=recipe.workers, num_threads=recipe.cpus_per_worker)
    return estimate(recipe, variants, dataset, times, spent_s)


def estimate(recipe: Recipe, variants: Sequence[Variant], dataset: Dataset, times: Times, spent_s: float) -> Estimate:
    """Add up what the run would take, of which `spent_s` went by until now: for imports, data and models."""
    began = time.perf_counter()
    once = [Part(name="load", seconds=spent_s)]
    if recipe.teacher.model is None:
        return Estimate(once=tuple(once), trials=(), num_at_once=1)
    if recipe.teacher.training is not None or recipe.has_students:
        once.append(Part(name=f"start {recipe.workers} workers", seconds=times.start_s() + _END_S))
    teacher = models.build(recipe.teacher.model, dataset, recipe.seed)
    taught = _Walk(recipe, dataset, times)
    taught.teach(teacher)
    once += taught.parts
    trials = []
    for each in variants:
        tried = _Walk(each.recipe, dataset, times, with_control=False)
        tried.shrink(teacher)
        trials.append(tuple(tried.parts))
    alone = _Walk(recipe, dataset, times)
    alone.shrink(teacher)
    if variants:
        once += [part for part in alone.parts if part.name.startswith("control")]
        once.append(_measured("measure trials", [*taught.served, *alone.served[-1:] * len(variants)], dataset))
    once.append(_measured("measure", [*taught.served, *alone.served], dataset))
    once.append(Part(name="publish", seconds=_PUBLISH_S))
    once.append(Part(name="estimate", seconds=time.perf_counter() - began))
    num_at_once = min(len(trials), max(recipe.workers, os.cpu_count() or 1)) if trials else 1
    return Estimate(once=tuple(once), trials=tuple(trials) or (tuple(alone.parts),), num_at_once=num_at_once)


class _Walk:
    """Follows a recipe as `steps` does, but that nothing is learned, and notes the parts on the way."""

    def __init__(self, recipe: Recipe, dataset: Dataset, times: Times, *, with_control: bool = True) -> None:
        self._recipe = recipe
        self._dataset = dataset
        self._times = times
        self._with_control = with_control
        self._example = export.example(dataset.train, _EXAMPLES)
        self._choice: PrecisionChoice | None = None  # of the first student: others are built much like it
        self.parts: list[Part] = []
        self.served: list[ServedTime] = []
        """Of the models that are exported, in their order."""

    def teach(self, teacher: nn.Module) -> None:
        """Note what the teacher takes."""
        settings, data = self._recipe.teacher, self._dataset
        if settings.training is not None:
            self._train("teacher", teacher, settings.training, settings.training.epochs, None)
        self._keep("teacher", teacher)
        if self._recipe.has_students and data.augmentation is None:
            each_s = self._times.answer_s(teacher, self._recipe.precision_of_answers)
            self.parts.append(Part(name="answers", seconds=each_s * len(data.stream or data.train)))

    def shrink(self, teacher: nn.Module) -> None:
        """Note what the steps take, and the control."""
        data, student, answers = self._dataset, copy.deepcopy(teacher), self._answers(teacher)

        def learn(step: str, where: str, training: Training, num_epochs: int) -> None:
            if self._with_control:  # it takes all of the first step that learns
                self._train("control", student, training, num_epochs, None)
            soft = soft_targets(answers, where, self._recipe.teachings[where], student, self._example)
            self._train(step, student, training, num_epochs, soft)

        for step in self._recipe.steps:
            num_parts = len(self.parts)
            match step:
                case Distill():
                    student = students.build(step.student, teacher, data, self._recipe.seed)
                    learn("distill", "distill", step.training, step.training.epochs)
                case Prune():
                    student = prune.prepare(student, self._example)
                    if scores.of_gradients(step.score) is not None:
                        learn("score", "prune.recovery", step.recovery, 1)
                    self._weigh_layers(step, student)
                    for amount in prune.amounts(step):
                        began = time.perf_counter()
                        student = prune.prune(student, amount, self._example, "random", self._recipe.seed)
                        self.parts.append(Part(name="cut", seconds=time.perf_counter() - began))
                        learn("prune", "prune.recovery", step.recovery, step.recovery.epochs)
                case Sparsify(recovery=Training() as recovery):
                    learn("sparsify", "sparsify.recovery", recovery, recovery.epochs * step.stages)
                case Quantize():
                    if step.training is not None:
                        student = qat.prepare(student)
                        learn("qat", "quantize.training", step.training, step.training.epochs)
                        student = qat.strip(student)
                        self._keep_control(student, num_parts)
                        self._keep("qat", student)
                    served = self._times.served(student)
                    examples_s = step.calibration_samples * served.example_s
                    self.parts.append(Part(name="calibrate", seconds=4 * _WRITE_S + (_RANGING + 8) * examples_s))
                    self.served.append(served)
                    continue
            self._keep_control(student, num_parts)
            self._keep(step.kind, student)

    def _keep_control(self, model: nn.Module, num_parts: int) -> None:
        """Note what keeping the control takes, where the parts since then are of the step that it takes."""
        if self._with_control and any(part.name.startswith("control") for part in self.parts[num_parts:]):
            self._with_control = False
            self._keep("control", model)

    def _train(
        self, step: str, model: nn.Module, training: Training, num_epochs: int, soft: SoftTargets | None
    ) -> None:
        data = self._dataset
        job = Job(
            step=step,
            model=copy.deepcopy(model),
            training=training,
            seed=0,
            task=data.task,
            soft=soft,
            augmentation=data.augmentation,
            choice=None if step == "teacher" else self._choice,
        )
        found = self._times.step(job)
        if step != "teacher":
            self._choice = found.choice
        examples = data.stream or (data.train.labelled() if step == "teacher" else data.train)
        num_steps = num_batches(len(examples), training.batch_size)
        seconds = num_epochs * (num_steps * found.step_s + found.epoch_s)
        self.parts.append(Part(name=step, seconds=seconds, num_epochs=num_epochs))

    def _weigh_layers(self, step: Prune, model: nn.Module) -> None:
        """Note what it takes to time the layers of stacks that compete: models of few layers, each with more of one."""
        if not step.layers or step.scope != "global":
            return
        num = 1 + len(depth.removable(model, self._example))
        if num > 2:
            served = self._times.served(model)
            written_s = num * (served.export_s + _WRITE_S)
            timed_s = latency.duration_s([served.call_s] * num, self._dataset.train)
            self.parts.append(Part(name="time layers", seconds=written_s + timed_s))

    def _keep(self, step: str, model: nn.Module) -> None:
        """Note what it takes to export the model, and to compare the file with it."""
        self.served.append(self._times.served(model))
        compared_s = 2 * min(len(self._dataset.validation), export.PARITY_SAMPLES) * self.served[-1].example_s
        self.parts.append(Part(name=f"{step}: export", seconds=self.served[-1].export_s + compared_s))

    def _answers(self, teacher: nn.Module) -> TeacherAnswers:
        """What students are given: zeros, since it does not matter to their speed what they learn."""
        data = self._dataset
        if data.augmentation is not None:
            return TeacherAnswers(teacher=teacher)
        learned = [each.kind for one in self._recipe.teachings.values() for each in one.transfer]
        pooled = taps.find("pooled", teacher, self._example) if "pooled" in learned else ()
        return TeacherAnswers(
            teacher=teacher,
            logits=np.zeros((len(data.train), data.num_outputs), np.float32),
            pooled=np.zeros((len(data.train), pooled[0].width), np.float32) if pooled else None,
        )


def _measured(name: str, served: Sequence[ServedTime], dataset: Dataset) -> Part:
    """What all models together take to be timed in turns, and to answer the held-out examples."""
    timed_s = latency.duration_s([each.call_s for each in served], dataset.held_out)
    answered_s = len(dataset.held_out) * sum(each.example_s for each in served)
    return Part(name=name, seconds=timed_s + answered_s)


def show(console: Console, recipe: Recipe, variants: Sequence[Variant], found: Estimate) -> None:
    """Print the steps, what each part takes, and about how long all of it does."""

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
    line("parts", _parts([found.once, *([] if variants else found.trials)]))
    line("time", summary(found))


def summary(found: Estimate) -> str:
    """About how long the run takes, on one line."""
    num = len(found.trials)
    early = f", {found.num_at_once} of {num} trials at a time and none stopped early" if num > 1 else ""
    return f"about {duration(found.seconds)} in all{early}"


def _settings(settings: Settings, without: set[str] | None = None) -> str:
    """What a recipe sets, as it writes it."""
    return terminal.plain(settings.model_dump(mode="json", exclude=without, exclude_defaults=True))


def _parts(several: Sequence[Sequence[Part]]) -> str:
    return ", ".join(
        f"{each.name}{f' {each.num_epochs} epochs' if each.num_epochs else ''} {duration(each.seconds)}"
        for parts in several
        for each in parts
    )
