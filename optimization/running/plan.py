"""What a run would do, and about how long it would take: what `probe` finds of each part, as often as the recipe wants.

Counted are starting, training, the teacher's answers, exporting with its check, calibrating, measuring and publishing,
and finding what must stay in fp32, though it may turn out that nothing must. What was trained before and is used again
takes no time.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from optimization.measuring import latency
from optimization.readers.examples import Dataset
from optimization.recipe.recipe import Recipe
from optimization.recipe.settings import Settings
from optimization.report import terminal
from optimization.report.phases import Phases, duration
from optimization.running.outline import Foreseen, Outline, Part, Times
from optimization.running.probe import Probe, ServedTime
from optimization.running.shrink import shrink
from optimization.running.teach import teach
from optimization.search.space import Variant
from optimization.training import reuse
from optimization.training.checkpoint_store import CheckpointStore

_END_S = 2.0
"""What workers take to end."""
_PUBLISH_S = 1.0


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


def probed(
    recipe: Recipe,
    variants: Sequence[Variant],
    dataset: Dataset,
    spent_s: float,
    checkpoints: CheckpointStore | None = None,
) -> Estimate:
    """The estimate by what is tried on this machine now, and by what `checkpoints` has already."""
    times = Probe(dataset, num_workers=recipe.workers, num_threads=recipe.cpus_per_worker)
    return estimate(recipe, variants, dataset, times, spent_s, checkpoints)


def estimate(
    recipe: Recipe,
    variants: Sequence[Variant],
    dataset: Dataset,
    times: Times,
    spent_s: float,
    checkpoints: CheckpointStore | None = None,
) -> Estimate:
    """Add up what the run would take, of which `spent_s` went by until now: for imports, data and models."""
    began = time.perf_counter()
    once = [Part(name="load", seconds=spent_s)]
    if recipe.teacher.model is None:
        return Estimate(once=tuple(once), trials=(), num_at_once=1)
    with Phases(Console(quiet=True)) as phases:

        def outline(wanted: Recipe, *, with_control: bool = True) -> Outline:
            return Outline(
                recipe=wanted,
                dataset=dataset,
                folder=Path(),  # nothing is written
                phases=phases,
                trainer=Foreseen(dataset, times, checkpoints, reuse.context(recipe)),
                times=times,
                with_control=with_control,
            )

        whole = outline(recipe)
        answers = teach(whole)
        num_taught, num_files = len(whole.parts), len(whole.served)
        trials = []
        for each in variants:
            tried = outline(each.recipe, with_control=False)
            shrink(tried, answers)
            trials.append(tuple(tried.parts))
        shrink(whole, answers)
    taught, shrunk = whole.parts[:num_taught], whole.parts[num_taught:]
    if whole.trainer.needs_workers:
        once.append(Part(name=f"start {recipe.workers} workers", seconds=times.start_s() + _END_S))
    once += taught
    if variants:
        once += [part for part in shrunk if part.name.startswith("control")]
        made = [*whole.served[:num_files], *whole.served[-1:] * len(variants)]
        once.append(_measured("measure trials", made, dataset))
    once.append(_measured("measure", whole.served, dataset))
    once.append(Part(name="publish", seconds=_PUBLISH_S))
    once.append(Part(name="estimate", seconds=time.perf_counter() - began))
    num_at_once = min(len(trials), max(recipe.workers, os.cpu_count() or 1)) if trials else 1
    return Estimate(once=tuple(once), trials=tuple(trials) or (tuple(shrunk),), num_at_once=num_at_once)


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
    return ", ".join(_part(each) for parts in several for each in parts)


def _part(each: Part) -> str:
    epochs = f" {each.num_epochs} epochs" if each.num_epochs else ""
    return f"{each.name}{epochs} {'used again' if each.is_known else duration(each.seconds)}"
