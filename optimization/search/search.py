"""Tries a recipe's steps with other settings, and publishes the cheapest model that is proven to be good enough.

    teacher, once ─▶ trials in parallel (tuning.py) ─▶ measured one after another ─▶ budget.choose ─▶ control ─▶ publish

Trials train side by side, so nothing is timed while they do; latencies are measured at the end, when the machine is
idle, the models taking turns. Validation examples stop and choose; held-out ones are read once, when it is published. A
trial trains on one worker: many of them keep the cluster busy. The control is that of
the variant which was chosen, trained at last.
"""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import torch
from rich.console import Console
from torch import nn

from optimization.artifact.findings import Trial
from optimization.artifact.store import Artifact
from optimization.errors import IdentityError, SearchError
from optimization.identity import code, content, named
from optimization.measuring import in_training, judging
from optimization.networks import own_head
from optimization.readers import data, holding
from optimization.readers.examples import Dataset, Split
from optimization.recipe.recipe import Recipe
from optimization.report.phases import Phases
from optimization.running import run
from optimization.running.rehearsal import rehearse
from optimization.running.shrink import control, shrink
from optimization.running.teach import TeacherAnswers, teach
from optimization.running.workspace import Workspace
from optimization.search import outcome, space, trials, tuning
from optimization.search.outcome import Made
from optimization.search.space import Variant
from optimization.search.tuning import Ended, Report
from optimization.training import identity, metering
from optimization.training.alone import Alone
from optimization.training.checkpoint_store import CheckpointStore
from optimization.training.cluster import cluster
from optimization.training.identity import Parts

_NUM_WATCHED = 1000
"""Validation examples, at most, on which a trial's progress is judged."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Makes the variant of a number; called on the cluster."""

    variants: tuple[Variant, ...]
    dataset: Dataset
    teacher_answers: TeacherAnswers
    watched: Split
    variables: Mapping[str, str]
    """Those that say where to report."""
    teacher_quality: float | None
    """On the examples watched; none where no trial is trained."""
    max_drop: float
    """What a trial may lose against it; one that loses no more is not stopped."""
    teacher_file: Made | None = None
    """The teacher, where it is an ONNX file: what the trials quantize."""

    def __call__(self, number: int, report: Report) -> Made:
        """Make it, and tell after each epoch how far it is and what it lacks."""
        torch.set_num_threads(1)  # each trial has one CPU
        recipe = self.variants[number].recipe
        num_epochs, num_done = space.num_epochs(recipe), 0

        def heard(model: nn.Module) -> None:
            nonlocal num_done
            num_done += 1
            measure = self.dataset.measure
            found = in_training.of(model, self.watched, self.dataset.task, measure)
            assert self.teacher_quality is not None, "what is trained has a teacher"
            report(num_done / num_epochs, judging.shortfall(measure, self.teacher_quality, found, self.max_drop))

        with (
            TemporaryDirectory(prefix="trimtab-") as folder,
            Phases(Console(quiet=True)) as phases,
            metering.reporting(recipe.name, f"trial{number}-{uuid4().hex[:8]}", number, self.variables) as meter,
        ):
            given = outcome.unpack(self.teacher_file, Path(folder) / "teacher") if self.teacher_file else []
            workspace = Workspace(
                recipe=recipe,
                dataset=self.dataset,
                folder=Path(folder),
                candidates=list(given),
                trainer=Alone(self.dataset.train, meter, heard),
                phases=phases,
                with_control=False,
            )
            shrink(workspace, self.teacher_answers)
            if not num_epochs:
                report(1.0, 0.0)  # there was nothing to stop it in
            return outcome.pack(workspace.candidates[len(given) :], workspace.losses)


def search(recipe: Recipe, root: Path, phases: Phases, checkpoints: CheckpointStore) -> Artifact:
    """Publish the cheapest variant that is proven to lie within the budget, else the one that comes nearest.

    The teacher, its answers, the control and the trials that `checkpoints` has are not made again.

    Raises:
        OptimizationError: the teacher could not be trained, or no trial came to an end.
    """
    assert recipe.search is not None, "asked of a search"
    began, variants = time.perf_counter(), space.variants(recipe)
    found = named.digests(recipe)
    with phases.phase("load data"):
        dataset = run.measured_by(recipe, own_head.fit(recipe.teacher, data.load(recipe.data, recipe.seed)))
    with phases.phase("build models"):
        rehearse(recipe, dataset, [variant.recipe for variant in variants])
    run.tell_time(phases, recipe, variants, dataset, began, checkpoints)
    with TemporaryDirectory(prefix="trimtab-") as name, cluster(recipe.num_cpus):
        folder = Path(name)
        with run.open_workspace(recipe, dataset, folder, phases, root, checkpoints, found) as workspace:
            teacher_answers = teach(workspace)
        teacher = workspace.candidates[0]
        teacher_file = outcome.pack([teacher], {}) if teacher_answers.teacher is None else None
        ended = _try_all(variants, dataset, teacher_answers, recipe, phases, checkpoints, teacher_file)
        made = {
            number: outcome.unpack(each.outcome, folder / f"trial-{number}")
            for number, each in ended.items()
            if each.outcome is not None
        }
        finals = {number: candidates[-1] for number, candidates in made.items()}
        if not finals:
            raise SearchError(_no_survivor(ended.values()))
        with phases.phase("measure trials"):
            finished = trials.measure(recipe.search, teacher, finals, dataset)
        notes = {number: _unfinished(variants[number], each) for number, each in ended.items()}
        result = trials.judge(recipe.search, variants, finished, notes)
        best = ended[result.chosen].outcome
        assert best is not None, "only what was finished is chosen"
        chosen = variants[result.chosen].recipe
        with run.open_workspace(chosen, dataset, folder, phases, root, checkpoints) as last:
            if teacher_answers.teacher is not None:
                control(last, teacher_answers)
        controls = [each for each in last.candidates if each.step == "control"]
        whole = replace(
            workspace,
            candidates=[*workspace.candidates, *controls, *made[result.chosen]],
            controls=last.controls,
            notes=[*dict.fromkeys([*workspace.notes, *last.notes])],
            losses=workspace.losses | last.losses | best.losses,
        )
        return run.publish(recipe, whole, root, result)


def _try_all(
    variants: tuple[Variant, ...],
    dataset: Dataset,
    teacher_answers: TeacherAnswers,
    recipe: Recipe,
    phases: Phases,
    checkpoints: CheckpointStore,
    teacher_file: Made | None = None,
) -> dict[int, Ended[Made]]:
    assert recipe.search is not None, "asked of a search"
    watched = holding.sample(dataset.validation, _NUM_WATCHED, 0)
    attempt = Attempt(
        variants=variants,
        dataset=dataset,
        teacher_answers=teacher_answers,
        watched=watched,
        variables=metering.variables(),
        teacher_quality=in_training.of(teacher_answers.teacher, watched, dataset.task, dataset.measure)
        if teacher_answers.teacher
        else None,
        max_drop=recipe.search.budget.max_drop,
        teacher_file=teacher_file,
    )
    searched = content.of_values([recipe.search.model_dump(mode="json"), *(each.recipe.sha256 for each in variants)])
    common = _parts(recipe, dataset, teacher_answers)
    folders, ended = [], {}
    for number, each in enumerate(variants):
        steps_sha256 = content.of_values(each.recipe.model_dump(mode="json", exclude={"name"}))
        folder, is_usable = checkpoints.place(checkpoints.trials, {"recipe": steps_sha256, **common})
        folders.append(folder)
        if is_usable and (before := outcome.kept(folder, searched)) is not None:
            ended[number] = before
    if ended:
        checkpoints.say(f"{len(ended)} of {len(variants)} trials are used again")
    left = [number for number in range(len(variants)) if number not in ended]
    with phases.phase(f"try {len(variants)} variants", len(variants)) as advance:

        def heard(number: int, each: Ended[Made]) -> None:
            outcome.keep(each, folders[number], searched)
            ended[number] = each
            advance(len(ended), math.nan)

        advance(len(ended), math.nan)
        if left:
            tuning.run(attempt, left, heard)
    return dict(sorted(ended.items()))


def _parts(recipe: Recipe, dataset: Dataset, teacher_answers: TeacherAnswers) -> Parts:
    """What every trial depends on beside its own recipe."""
    parts: Parts = {
        "named": content.of_values(named.digests(recipe)),
        "data": identity.of_split(dataset.train),
        "validation": identity.of_split(dataset.validation),
        **identity.environment(),
        **{name: code.release(name) for name in run.LIBRARIES},
    }
    if teacher_answers.teacher is not None:
        try:
            parts["teacher"] = identity.of_model(teacher_answers.teacher, dataset.train)
        except IdentityError:
            parts["teacher"] = uuid4().hex  # not to be found again
    return parts


def _no_survivor(ended: Iterable[Ended[Made]]) -> str:
    problems = sorted({each.problem for each in ended if each.problem is not None})
    return f"at least one trial of the search must come to its end, got none: {'; '.join(problems) or 'all stopped'}"


def _unfinished(variant: Variant, ended: Ended[Made]) -> Trial:
    if ended.problem is not None:
        return Trial(settings=variant.settings, outcome="failed", note=ended.problem)
    note = f"after {ended.stopped_at or 0:.0%} of its training"
    return Trial(settings=variant.settings, outcome="stopped", note=note)
