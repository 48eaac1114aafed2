"""A search's trials: made here without Ray, and the whole search on a cluster."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from optimization import artifact, evaluate, recipe, run, steps
from optimization.artifact import Artifact
from optimization.examples import Dataset
from optimization.recipe import Recipe
from optimization.report.terminal import Phases
from optimization.search import search, space, trials
from optimization.search.search import Attempt
from optimization.steps import Bench, Lesson
from optimization.training import train
from telemetry.emit import Emitter


@pytest.fixture(scope="module")
def wanted(seed_recipe: Recipe) -> Recipe:
    raw = seed_recipe.model_dump(mode="json")
    raw["name"] = "searched"
    raw["teacher"]["training"]["epochs"] = 10
    raw["steps"][0]["training"]["epochs"] = 10
    raw["steps"] = raw["steps"][:1]
    raw["search"] = {"budget": {"max_drop": 0.2}, "choices": {"distill.student.hidden": [[4], [256, 256]]}}
    return recipe.parse(raw)


@pytest.fixture
def phases() -> Iterator[Phases]:
    with Phases(Console(file=io.StringIO())) as shown:
        yield shown


def alone(wanted: Recipe, dataset: Dataset, folder: Path, phases: Phases) -> Bench:
    meter = train.Meter(Emitter(service="test", version="1", role="train_worker", instance="a"), rank=0)
    trainer = train.Alone(dataset.train, meter, lambda _model: None)
    return Bench(recipe=wanted, dataset=dataset, folder=folder, trainer=trainer, phases=phases)


@pytest.fixture
def made(wanted: Recipe, tumours: Dataset, tmp_path: Path, phases: Phases) -> tuple[Bench, Lesson]:
    bench = alone(wanted, tumours, tmp_path, phases)
    return bench, steps.teach(bench)


def attempt(wanted: Recipe, made: tuple[Bench, Lesson]) -> Attempt:
    bench, lesson = made
    return Attempt(
        variants=space.variants(wanted),
        dataset=bench.dataset,
        lesson=lesson,
        watched=bench.dataset.held_out,
        endpoint=None,
        good_enough=0.5,
    )


def test_trials_tell_how_far_they_are_and_leave_a_control_to_be_trained(
    wanted: Recipe, made: tuple[Bench, Lesson]
) -> None:
    heard: list[tuple[float, float]] = []
    tried = attempt(wanted, made)(0, lambda share, shortfall: heard.append((share, shortfall)))
    assert [share for share, _ in heard] == pytest.approx(np.linspace(0.1, 1, 10).tolist())
    assert heard[-1][1] == 0, "half of all is soon right"
    assert [each.step for each in tried.candidates] == ["distill"]
    assert [(job.step, job.soft) for job in tried.controls] == [("control", None)]
    assert list(tried.losses) == ["distill"]


def test_cheapest_proven_trial_is_chosen_and_published(
    wanted: Recipe, made: tuple[Bench, Lesson], tmp_path: Path
) -> None:
    bench, _ = made
    assert wanted.search is not None
    tried, variants = attempt(wanted, made), space.variants(wanted)
    outcomes = [tried(number, lambda _share, _shortfall: None) for number in range(len(variants))]
    unpacked = [search._unpacked(each, tmp_path / str(number)) for number, each in enumerate(outcomes)]
    finals = {number: candidates[-1].path for number, candidates in enumerate(unpacked)}
    settings = wanted.search.model_copy(update={"target": "size"})
    finished = trials.measure(settings, bench.candidates[0].path, finals, bench.dataset.held_out)
    result = trials.judge(settings, variants, finished, {})
    sizes = [path.stat().st_size for path in finals.values()]
    assert result.is_proven
    assert result.trials[result.chosen].size_bytes == min(sizes)
    bench.candidates.extend(unpacked[result.chosen])
    check(run.publish(wanted, bench, tmp_path / "artifacts", result), wanted, bench.dataset)


def check(published: Artifact, wanted: Recipe, dataset: Dataset) -> None:
    loaded = artifact.load(published.path)
    found = loaded.manifest.findings.search
    assert found is not None
    chosen = found.trials[found.chosen]
    assert loaded.manifest.recipe_sha256 == wanted.sha256
    assert loaded.manifest.files[artifact.MODEL].size_bytes == chosen.size_bytes, "what was judged is what is served"
    answers = evaluate.predict(loaded.model_path, dataset.held_out)
    assert evaluate.accuracy(answers, dataset.held_out.labels).value == chosen.accuracy
    assert loaded.manifest.findings.losses["teacher"]
    assert "Search" in (loaded.path / artifact.REPORT).read_text()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_search_on_a_cluster_publishes_what_it_judged(
    ray_cluster: None, wanted: Recipe, tumours: Dataset, tmp_path: Path, phases: Phases
) -> None:
    published = search.search(wanted, tmp_path, phases)
    check(published, wanted, tumours)
    found = published.manifest.findings.search
    assert found is not None
    assert [each.outcome for each in found.trials] == ["measured", "measured"]
    assert [each.step for each in published.manifest.measurements] == ["teacher", "control", "distill"]
