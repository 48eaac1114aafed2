"""A search's trials: made here without Ray, and the whole search on a cluster."""

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from torch import nn

from optimization.artifact import store
from optimization.artifact.store import Artifact
from optimization.measuring import evaluate, paired
from optimization.measuring.paired import Pairs
from optimization.readers.examples import Dataset
from optimization.recipe import recipe
from optimization.recipe.recipe import Budget, Recipe
from optimization.report.phases import Phases
from optimization.running import run
from optimization.running.shrink import control, shrink
from optimization.running.teach import TeacherAnswers, teach
from optimization.running.workspace import Candidate, Workspace
from optimization.search import outcome, search, space, trials
from optimization.search.outcome import Made
from optimization.search.search import Attempt
from optimization.search.tuning import Ended
from optimization.training.alone import Alone
from optimization.training.checkpoint_store import CheckpointStore
from optimization.training.job import Job
from optimization.training.metering import Meter
from telemetry.emitting.emitter import Emitter


@pytest.fixture(scope="module")
def wanted(seed_recipe: Recipe) -> Recipe:
    raw = seed_recipe.model_dump(mode="json")
    raw["name"] = "searched"
    raw["teacher"]["training"]["epochs"] = 10
    raw["teacher"]["publish"] = True
    raw["steps"][0]["training"]["epochs"] = 10
    raw["steps"] = raw["steps"][:1]
    raw["search"] = {"budget": {"max_drop": 0.2}, "choices": {"distill.student.hidden": [[4], [256, 256]]}}
    return recipe.parse(raw)


@pytest.fixture
def phases() -> Iterator[Phases]:
    with Phases(Console(file=io.StringIO())) as shown:
        yield shown


def alone(wanted: Recipe, dataset: Dataset, folder: Path, phases: Phases) -> Workspace:
    meter = Meter(Emitter(service="test", version="1", role="train_worker", instance="a"), rank=0)
    trainer = Alone(dataset.train, meter, lambda _model: None)
    return Workspace(recipe=wanted, dataset=dataset, folder=folder, trainer=trainer, phases=phases)


@pytest.fixture(scope="module")
def taught(
    wanted: Recipe, tumours: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workspace, TeacherAnswers]:
    """A teacher, trained once."""
    with Phases(Console(quiet=True)) as phases:
        workspace = alone(wanted, tumours, tmp_path_factory.mktemp("teacher"), phases)
        return workspace, teach(workspace)


@pytest.fixture
def made(
    taught: tuple[Workspace, TeacherAnswers], wanted: Recipe, tumours: Dataset, tmp_path: Path, phases: Phases
) -> tuple[Workspace, TeacherAnswers]:
    """A workspace where only the teacher was made."""
    workspace, (before, answers) = alone(wanted, tumours, tmp_path, phases), taught
    workspace.candidates.extend(before.candidates)
    workspace.losses.update(before.losses)
    return workspace, answers


def attempt(wanted: Recipe, made: tuple[Workspace, TeacherAnswers]) -> Attempt:
    workspace, teacher_answers = made
    return Attempt(
        variants=space.variants(wanted),
        dataset=workspace.dataset,
        teacher_answers=teacher_answers,
        watched=workspace.dataset.validation,
        variables={},
        teacher_quality=1.0,
        max_drop=0.5,
    )


def test_trials_tell_how_far_they_are(wanted: Recipe, made: tuple[Workspace, TeacherAnswers]) -> None:
    heard: list[tuple[float, float]] = []
    tried = attempt(wanted, made)(0, lambda share, shortfall: heard.append((share, shortfall)))
    assert [share for share, _ in heard] == pytest.approx(np.linspace(0.1, 1, 10).tolist())
    assert heard[-1][1] == 0, "half of all is soon right"
    assert [each.step for each in tried.candidates] == ["distill"]
    assert list(tried.losses) == ["distill"]


def test_cheapest_proven_trial_is_chosen_and_published(
    wanted: Recipe, made: tuple[Workspace, TeacherAnswers], tmp_path: Path
) -> None:
    workspace, _ = made
    assert wanted.search is not None
    tried, variants = attempt(wanted, made), space.variants(wanted)
    outcomes = [tried(number, lambda _share, _shortfall: None) for number in range(len(variants))]
    unpacked = [outcome.unpack(each, tmp_path / str(number)) for number, each in enumerate(outcomes)]
    finals = {number: candidates[-1] for number, candidates in enumerate(unpacked)}
    settings = wanted.search.model_copy(update={"target": "size"})
    dataset = workspace.dataset
    finished = trials.measure(settings, workspace.candidates[0], finals, dataset)
    result = trials.judge(settings, variants, finished, {})
    sizes = [each.path.stat().st_size for each in finals.values()]
    assert result.is_proven
    assert result.trials[result.chosen].size_bytes == min(sizes)
    workspace.candidates.extend(unpacked[result.chosen])
    check(run.publish(wanted, workspace, tmp_path / "artifacts", result), wanted, workspace.dataset)
    teacher = store.load(tmp_path / "artifacts" / "searched-teacher" / "1")
    assert teacher.model_path.read_bytes() == workspace.candidates[0].path.read_bytes()
    assert [each.step for each in teacher.manifest.measurements] == ["teacher"]


def test_trials_that_ended_are_not_tried_again_by_this_search_or_another(
    wanted: Recipe, made: tuple[Workspace, TeacherAnswers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, teacher_answers = made
    done = Ended(outcome=attempt(wanted, made)(0, lambda _share, _shortfall: None))
    tried: list[list[int]] = []

    def run_left(_attempt: Attempt, numbers: list[int], heard: Callable[[int, Ended[Made]], None]) -> None:
        tried.append(numbers)
        for number in numbers:
            heard(number, done if number == 0 else Ended(stopped_at=0.2))

    def searched(recipe: Recipe) -> dict[int, Ended[Made]]:
        store = CheckpointStore(tmp_path / "runs", recipe.name)
        variants = space.variants(recipe)
        return search._try_all(variants, workspace.dataset, teacher_answers, recipe, workspace.phases, store)

    monkeypatch.setattr(search.tuning, "run", run_left)
    first = searched(wanted)
    assert first == {0: done, 1: Ended(stopped_at=0.2)}
    assert searched(wanted) == first
    assert tried == [[0, 1]], "at the second time none is left"
    assert wanted.search is not None
    larger = wanted.search.model_copy(update={"budget": Budget(max_drop=0.3)})
    searched(wanted.model_copy(update={"search": larger}))
    assert tried[1:] == [[1]], "one that was stopped might not be by a search with another budget"
    workspace.dataset.train.inputs["features"][0, 0] += 1
    try:
        searched(wanted)
    finally:
        workspace.dataset.train.inputs["features"][0, 0] -= 1
    assert tried[2:] == [[0, 1]], "of other data"


def test_a_trial_that_failed_or_whose_files_are_gone_is_tried_again(tmp_path: Path) -> None:
    outcome.keep(Ended(problem="out of memory"), tmp_path / "failed", "search")
    assert outcome.kept(tmp_path / "failed", "search") is None
    candidate = Candidate(step="distill", path=Path("distill.onnx"), output="probabilities", num_parameters=1)
    ended = Ended(outcome=Made(candidates=[candidate], files=[b"graph"], losses={"distill": [1.0]}))
    outcome.keep(ended, tmp_path / "whole", "search")
    assert outcome.kept(tmp_path / "whole", "search") == ended
    (tmp_path / "whole" / "distill.onnx").unlink()
    assert outcome.kept(tmp_path / "whole", "search") is None


def test_the_ways_of_quantizing_an_onnx_file_are_searched(
    made: tuple[Workspace, TeacherAnswers], tmp_path: Path, phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials began without the file, and failed; nothing of them is trained, nor is there a control."""
    teacher = shutil.copy(made[0].candidates[0].path, tmp_path / "quantize.onnx")  # as a trial calls what it writes
    raw = {
        "name": "mine",
        "data": {"kind": "breast_cancer", "num_features": 8},
        "teacher": {"onnx": str(teacher)},
        "steps": [{"kind": "quantize", "calibration_samples": 64, "max_changed": 1}],
        "search": {"budget": {"max_drop": 0.2}, "choices": {"quantize.ranges": ["minmax", "percentile"]}},
    }
    shares: list[float] = []

    def run_here(attempt: Attempt, numbers: list[int], heard: Callable[[int, Ended[Made]], None]) -> None:
        for number in numbers:
            heard(number, Ended(outcome=attempt(number, lambda share, _shortfall: shares.append(share))))

    monkeypatch.setattr(search.tuning, "run", run_here)
    monkeypatch.setattr(search, "cluster", lambda _num_cpus: nullcontext())
    checkpoints = CheckpointStore(tmp_path / "runs", "mine")
    published = search.search(recipe.parse(raw), tmp_path / "artifacts", phases, checkpoints)
    found = published.manifest.findings.search
    assert found is not None
    assert [each.outcome for each in found.trials] == ["measured", "measured"]
    assert shares == [1.0, 1.0]
    assert [each.step for each in published.manifest.measurements] == ["teacher", "quantize"]
    assert published.manifest.measurements[-1].precision == "INT8"


def test_control_of_the_chosen_trial_is_trained_without_its_student(made: tuple[Workspace, TeacherAnswers]) -> None:
    workspace, teacher_answers = made
    control(workspace, teacher_answers)
    assert [each.step for each in workspace.candidates] == ["teacher", "control"]
    assert "distill" not in workspace.losses or not workspace.losses["distill"]


def test_control_of_several_stages_is_as_small_as_what_is_served(
    wanted: Recipe, tumours: Dataset, tmp_path: Path, phases: Phases
) -> None:
    raw = wanted.model_dump(mode="json") | {"search": None}
    recovery = {"epochs": 2, "batch_size": 32}
    raw["steps"] = [{"kind": "prune", "ratio": 0.5, "stages": 2, "recovery": recovery}]
    workspace = alone(recipe.parse(raw), tumours, tmp_path, phases)
    teacher_answers = teach(workspace)
    shrink(workspace, teacher_answers)
    assert [each.step for each in workspace.candidates] == ["teacher", "control", "prune"]
    assert {step: len(losses) for step, losses in workspace.losses.items()} == {"teacher": 10, "control": 4, "prune": 4}
    whole, control_size, pruned = (each.num_parameters for each in workspace.candidates)
    assert whole > control_size == pruned

    chosen = alone(recipe.parse(raw), tumours, tmp_path, phases)
    control(chosen, teacher_answers)
    assert [(each.step, each.num_parameters) for each in chosen.candidates] == [("control", pruned)]


def test_a_stage_goes_on_with_chance_where_the_one_before_ended(
    wanted: Recipe, tumours: Dataset, tmp_path: Path, phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = wanted.model_dump(mode="json") | {"search": None, "seed": 5}
    raw["steps"] = [{"kind": "prune", "ratio": 0.5, "stages": 3, "recovery": {"epochs": 2, "batch_size": 32}}]
    workspace = alone(recipe.parse(raw), tumours, tmp_path, phases)
    teacher_answers = teach(workspace)
    train, seeds = workspace.trainer.train, []

    def noted(job: Job, advance: Callable[[int, float], None]) -> nn.Module:
        seeds.append((job.step, job.seed, job.first_epoch))
        return train(job, advance)

    monkeypatch.setattr(workspace.trainer, "train", noted)
    shrink(workspace, teacher_answers)
    assert seeds == [(step, 5, first_epoch) for step in ("control", "prune") for first_epoch in (0, 2, 4)]


def check(published: Artifact, wanted: Recipe, dataset: Dataset) -> None:
    loaded = store.load(published.path)
    found = loaded.manifest.findings.search
    assert found is not None
    chosen = found.trials[found.chosen]
    assert loaded.manifest.recipe_sha256 == wanted.sha256
    assert loaded.manifest.files[store.MODEL].size_bytes == chosen.size_bytes, "what was judged is what is served"
    decided, reported = (
        np.mean(
            dataset.task.answers(evaluate.predict(loaded.model_path, split, dataset.task, "probabilities"))
            == split.labels
        )
        for split in (dataset.validation, dataset.held_out)
    )
    assert decided == chosen.accuracy
    assert reported == loaded.manifest.measurements[-1].quality.value
    lost = next(each for each in loaded.manifest.findings.differences if each.reference == "teacher")
    pairs = Pairs(num_lost=lost.num_lost, num_won=lost.num_won, num_samples=len(dataset.held_out))
    assert wanted.search is not None
    assert found.is_proven == (paired.p_value(pairs, wanted.search.budget.max_drop) <= 0.05)
    assert loaded.manifest.findings.losses["teacher"]
    assert "Search" in (loaded.path / store.REPORT).read_text()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_search_on_a_cluster_publishes_what_it_judged(
    ray_cluster: None, wanted: Recipe, tumours: Dataset, tmp_path: Path, phases: Phases
) -> None:
    checkpoints = CheckpointStore(tmp_path / "runs", wanted.name)
    published = search.search(wanted, tmp_path, phases, checkpoints)
    check(published, wanted, tumours)
    found = published.manifest.findings.search
    assert found is not None
    assert [each.outcome for each in found.trials] == ["measured", "measured"]
    assert [each.step for each in published.manifest.measurements] == ["teacher", "control", "distill"]
