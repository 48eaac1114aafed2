"""The time of a whole run: its arithmetic with times that are given, and the times that are found by trying."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from torch import nn

from optimization.graphs import export
from optimization.measuring import latency
from optimization.networks import models
from optimization.readers.examples import Augmentation, Dataset, Split, Stream
from optimization.recipe import recipe
from optimization.recipe.architectures import Mlp
from optimization.recipe.methods import SetPrecision, Training
from optimization.recipe.recipe import Recipe
from optimization.report.phases import Phases
from optimization.running import plan, probe
from optimization.running.outline import Part
from optimization.running.plan import Estimate
from optimization.running.probe import Probe, ServedTime, StepTime
from optimization.running.shrink import shrink
from optimization.running.teach import teach
from optimization.running.workspace import Workspace
from optimization.search import space
from optimization.training import reuse
from optimization.training.alone import Alone
from optimization.training.checkpoint_store import CheckpointStore
from optimization.training.job import Job
from optimization.training.reuse import Reusing
from tests.optimization.training.test_loop import Silent

START_S = 13.0
STEP_S, EPOCH_S, ANSWER_S, EXPORT_S = 0.5, 3.0, 0.25, 7.0
CALL_S = {1: 0.001, 32: 0.064}
WRITE_S, NUM_WEIGHTS = 2.0, 5


class Given:
    """Times that are the same for every model."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def start_s(self) -> float:
        return START_S

    def step(self, job: Job) -> StepTime:
        self.jobs.append(job)
        return StepTime(step_s=STEP_S, epoch_s=EPOCH_S)

    def answer_s(self, teacher: nn.Module, wanted: SetPrecision) -> float:
        return ANSWER_S

    def served(self, model: nn.Module) -> ServedTime:
        return ServedTime(export_s=EXPORT_S, call_s=CALL_S, write_s=WRITE_S, num_weights=NUM_WEIGHTS)


def seconds(found: Estimate, name: str) -> float:
    parts = [*found.once, *(each for trial in found.trials for each in trial)]
    return sum(each.seconds for each in parts if each.name == name)


def test_every_part_of_a_run_is_counted_as_often_as_it_comes(seed_recipe: Recipe, tumours: Dataset) -> None:
    found = plan.estimate(seed_recipe, (), tumours, Given(), spent_s=11.0)
    num, batch = len(tumours.train), 32
    each_s = CALL_S[32] / 32
    compared_s = 2 * len(tumours.validation) * each_s
    assert seconds(found, "load") == 11
    assert seconds(found, "start 2 workers") == pytest.approx(START_S, abs=3)
    assert seconds(found, "teacher") == pytest.approx(30 * (num // batch * STEP_S + EPOCH_S))
    assert seconds(found, "answers") == pytest.approx(num * ANSWER_S)
    for step in ("control", "distill"):
        assert seconds(found, step) == pytest.approx(40 * (num // batch * STEP_S + EPOCH_S))
    for step in ("teacher", "control", "distill", "sparsify"):
        assert seconds(found, f"{step}: export") == pytest.approx(EXPORT_S + compared_s)
    assert seconds(found, "calibrate") > 256 * each_s
    timed_s = latency.duration_s([CALL_S] * 5, tumours.held_out)  # teacher, control, distill, sparsify, quantize
    assert seconds(found, "measure") == pytest.approx(timed_s + 5 * len(tumours.held_out) * each_s)
    assert found.seconds == pytest.approx(sum(each.seconds for each in (*found.once, *found.trials[0])))


def test_every_stage_is_counted_with_what_the_stages_before_it_left(digits_recipe: Recipe, digits: Dataset) -> None:
    raw = digits_recipe.model_dump(mode="json")
    raw["steps"][1] |= {"stages": 3, "score": "taylor"}
    given = Given()
    plan.estimate(recipe.parse(raw), (), digits, given, spent_s=0.0)
    steps = [job.step for job in given.jobs]
    assert steps == ["teacher", "control", "distill", "score", "prune", "prune", "prune"]
    sizes = [models.num_parameters(job.model) for job in given.jobs[-3:]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def test_the_teacher_goes_along_where_it_must_see_each_picture(digits_recipe: Recipe, digits: Dataset) -> None:
    given = Given()
    moved = replace(digits, augmentation=Augmentation(shift=1, flip=False))
    found = plan.estimate(digits_recipe, (), moved, given, spent_s=0.0)
    taught = [job for job in given.jobs if job.step == "distill"]
    assert all(job.soft is not None and job.soft.teacher is not None for job in taught)
    assert seconds(found, "answers") == 0


def test_trials_share_the_machine_and_the_teacher_does_not(seed_recipe: Recipe, tumours: Dataset) -> None:
    raw = seed_recipe.model_dump(mode="json")
    raw["search"] = {"choices": {"distill.student.hidden": [[4], [64]], "distill.training.epochs": [3, 5]}}
    wanted = recipe.parse(raw)
    variants = space.variants(wanted)
    found = plan.estimate(wanted, variants, tumours, Given(), spent_s=0.0)
    assert [each.num_epochs for each in found.once if each.num_epochs] == [30, 40]
    assert [trial[0].num_epochs for trial in found.trials] == [
        each.settings["distill.training.epochs"] for each in variants
    ]
    second = Part(name="distill", num_epochs=1, seconds=1.0)
    assert Estimate(once=(second, second), trials=((second,),) * 6, num_at_once=3).seconds == 4


@pytest.mark.parametrize("change", ["nothing", "the last step", "the teacher", "fresh"])
def test_what_was_trained_before_takes_no_time(
    seed_recipe: Recipe, tumours: Dataset, tmp_path: Path, change: str
) -> None:
    raw = seed_recipe.model_dump(mode="json")
    raw["teacher"]["training"]["epochs"] = raw["steps"][0]["training"]["epochs"] = 2
    raw["steps"][1] |= {"recovery": {"epochs": 2, "batch_size": 32}}
    before = recipe.parse(raw)
    store = CheckpointStore(tmp_path, "seed")
    with Phases(Console(quiet=True)) as phases:
        trainer = Alone(tumours.train, Silent(), lambda _model: None)
        reusing = Reusing(trainer, tumours.train, store, reuse.context(before))
        workspace = Workspace(recipe=before, dataset=tumours, folder=tmp_path, trainer=reusing, phases=phases)
        shrink(workspace, teach(workspace))
    if change == "the teacher":
        raw["teacher"]["training"]["epochs"] = 3
    elif change == "the last step":
        raw["steps"][1]["recovery"]["epochs"] = 3
    given, again = Given(), CheckpointStore(tmp_path, "seed", fresh=change == "fresh")
    found = plan.estimate(recipe.parse(raw), (), tumours, given, spent_s=0.0, checkpoints=again)
    everything = ["teacher", "control", "distill", "sparsify"]
    left = {"nothing": [], "the last step": ["sparsify"]}.get(change, everything)
    assert [job.step for job in given.jobs] == left
    assert (seconds(found, "start 2 workers") > 0) == bool(left)
    known = [each.name for each in (*found.once, *found.trials[0]) if each.is_known]
    assert sorted(known) == sorted({*everything, "answers"} - set(left) - ({"answers"} if len(left) > 1 else set()))


def test_a_stream_is_tried_on_its_sample_and_counted_as_a_whole(
    seed_recipe: Recipe, tumours: Dataset, tmp_path: Path
) -> None:
    streamed = replace(tumours, stream=Stream(folder=tmp_path, num=100 * len(tumours.train), example_bytes=32))
    given = Given()
    found = plan.estimate(seed_recipe, (), streamed, given, spent_s=0.0)
    assert seconds(found, "answers") == pytest.approx(100 * len(tumours.train) * ANSWER_S)
    assert seconds(found, "distill") > 40 * 99 * (len(tumours.train) // 32) * STEP_S
    (distilled,) = (each for each in given.jobs if each.step == "distill")
    assert Probe(streamed, num_workers=1, num_threads=1).step(distilled).step_s > 0


def test_finding_what_must_stay_in_fp32_is_counted_where_it_may_come(seed_recipe: Recipe, tumours: Dataset) -> None:
    raw, found = seed_recipe.model_dump(mode="json"), []
    for max_changed in (0.02, 1.0):
        raw["steps"][-1]["max_changed"] = max_changed
        made = plan.estimate(recipe.parse(raw), (), tumours, Given(), spent_s=0.0)
        found.append(seconds(made, "find what stays in fp32, if anything must,"))
    tried_s = WRITE_S + 256 * CALL_S[32] / 32
    assert found == [pytest.approx((NUM_WEIGHTS + 3) * tried_s), 0], "each weight alone, then three halvings"


def test_a_file_is_judged_without_being_written(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export costs seconds where all of a small recipe's training costs ten."""
    monkeypatch.setattr(export, "export", None)
    model = models.build(Mlp(kind="mlp", hidden=(64, 64)), digits, 0)
    times = Probe(digits, num_workers=1, num_threads=1)
    first, again = times.served(model), times.served(model)
    assert first is again
    assert first.num_weights == 3
    assert first.call_s[32] > 0
    other = times.served(models.build(Mlp(kind="mlp", hidden=(64,)), digits, 0))
    assert other.export_s < first.export_s, "the exporter is loaded once"


def test_batches_of_texts_that_are_tried_are_as_long_as_those_of_an_epoch() -> None:
    lengths = np.random.default_rng(0).geometric(0.08, 5000).clip(1, 60)
    split = Split(inputs={"ids": np.zeros((5000, 60), np.int64)}, labels=np.zeros(5000, np.int64), lengths=lengths)
    rows = probe._batches(split, 50).reshape(-1, 50)
    tried = np.mean([lengths[each].max() for each in rows])
    order = np.sort(lengths).reshape(-1, 50)
    assert tried == pytest.approx(order.max(axis=1).mean(), rel=0.1)


def test_a_larger_model_is_found_to_take_longer(digits: Dataset) -> None:
    found = []
    for width in (16, 1536):
        model = models.build(Mlp(kind="mlp", hidden=(width, width)), digits, 0)
        job = Job(step="teacher", model=model, training=Training(epochs=1), seed=0, task=digits.task)
        found.append(Probe(digits, num_workers=1, num_threads=1).step(job).step_s)
    assert found[1] > 3 * found[0]


def test_several_workers_share_the_batch_and_the_cpus(monkeypatch: pytest.MonkeyPatch, digits: Dataset) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert Probe(digits, num_workers=2, num_threads=1)._together(1.0) == 1
    assert Probe(digits, num_workers=4, num_threads=1)._together(1.0) == 2
    assert Probe(digits, num_workers=2, num_threads=2)._together(1.0) == 2
