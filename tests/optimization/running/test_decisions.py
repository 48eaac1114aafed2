"""What decides does not report, and the control has the student's budget."""

import copy
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from rich.console import Console
from torch import Tensor, nn

from optimization.pruning import prune
from optimization.readers.examples import UNLABELLED, Dataset, Split
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe
from optimization.report.phases import Phases
from optimization.running import run
from optimization.running.shrink import shrink
from optimization.running.teach import teach
from optimization.running.workspace import Workspace
from optimization.search import space, trials
from optimization.search.search import Attempt
from optimization.training.alone import Alone
from optimization.training.job import Job

RECOVERY = {"epochs": 2, "batch_size": 32, "precision": "fp32"}


@dataclass(frozen=True, kw_only=True)
class Sealed(Split):
    """Examples that must not be read before they are opened."""

    is_open: ClassVar[bool] = False

    def __getattribute__(self, name: str) -> Any:
        if name in ("inputs", "labels", "lengths") and not Sealed.is_open:
            raise AssertionError("held-out examples were read before all was decided")
        return super().__getattribute__(name)


@pytest.fixture
def sealed(tumours: Dataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(Sealed, "is_open", False)
    return replace(tumours, held_out=Sealed(inputs=tumours.held_out.inputs, labels=tumours.held_out.labels))


@dataclass
class Steps:
    """Counts optimizer steps by what they are for."""

    counts: Counter[str]

    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:
        self.counts[step] += 1


@pytest.fixture
def phases() -> Iterator[Phases]:
    with Phases(Console(file=io.StringIO())) as shown:
        yield shown


def wanted(seed_recipe: Recipe, *further: dict[str, Any], is_distilled: bool = True, **settings: Any) -> Recipe:
    raw = seed_recipe.model_dump(mode="json") | settings
    raw["teacher"]["training"] |= {"epochs": 3, "precision": "fp32"}
    raw["steps"][0]["training"] |= {"epochs": 3, "precision": "fp32"}
    raw["steps"] = [*raw["steps"][: int(is_distilled)], *further]
    return recipe.parse(raw)


def workspace_of(made: Recipe, dataset: Dataset, folder: Path, phases: Phases) -> tuple[Workspace, Counter[str]]:
    counts: Counter[str] = Counter()
    trainer = Alone(dataset.train, Steps(counts), lambda _model: None)
    return Workspace(recipe=made, dataset=dataset, folder=folder, trainer=trainer, phases=phases), counts


def test_held_out_examples_are_read_once_all_is_decided(
    seed_recipe: Recipe, sealed: Dataset, tmp_path: Path, phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training, export, the scan of what INT8 costs, and whether INT8 is faster."""
    made = wanted(seed_recipe, {"kind": "quantize", "max_changed": 1.0})
    workspace, _ = workspace_of(made, sealed, tmp_path, phases)
    shrink(workspace, teach(workspace))
    decide = run._faster_last

    def last_decision(*arguments: Any) -> Any:
        decided = decide(*arguments)
        monkeypatch.setattr(Sealed, "is_open", True)
        return decided

    monkeypatch.setattr(run, "_faster_last", last_decision)
    published = run.publish(made, workspace, tmp_path / "artifacts")
    found = published.manifest.findings.examples
    assert found is not None
    assert found.num_held_out == published.manifest.measurements[-1].quality.num_samples == len(sealed.held_out)
    assert (found.num_train, found.num_validation) == (len(sealed.train), len(sealed.validation))
    assert f"{found.num_validation} decided (validation)" in (published.path / "report.html").read_text()


def test_a_search_stops_and_chooses_without_held_out_examples(
    seed_recipe: Recipe, sealed: Dataset, tmp_path: Path, phases: Phases
) -> None:
    search = {"budget": {"max_drop": 0.2}, "choices": {"distill.student.hidden": [[2], [8]]}}
    made = wanted(seed_recipe, search=search)
    workspace, _ = workspace_of(made, sealed, tmp_path, phases)
    teacher_answers, variants = teach(workspace), space.variants(made)
    attempt = Attempt(
        variants=variants,
        dataset=sealed,
        teacher_answers=teacher_answers,
        watched=sealed.validation,
        variables={},
        teacher_quality=1.0,
        max_drop=0.2,
    )
    for number in range(2):
        attempt(number, lambda _share, _shortfall: None)
    shrink(workspace, teacher_answers)
    assert made.search is not None
    finals = {0: workspace.candidates[-1], 1: workspace.candidates[-1]}
    finished = trials.measure(made.search, workspace.candidates[0], finals, sealed)
    assert trials.judge(made.search, variants, finished, {}).trials


STEPS = [
    {"kind": "prune", "ratio": 0.5, "stages": 2, "recovery": RECOVERY},
    {"kind": "prune", "ratio": 0.5, "score": "taylor", "recovery": RECOVERY},
    {"kind": "sparsify", "ratio": 0.5, "stages": 3, "recovery": RECOVERY},
    {"kind": "quantize", "method": "qat", "max_changed": 1.0, "publish": "always", "training": RECOVERY},
]


@pytest.mark.parametrize("step", [None, *STEPS], ids=lambda step: "distill" if step is None else step["kind"])
def test_the_control_has_the_start_and_the_steps_of_the_student(
    seed_recipe: Recipe,
    tumours: Dataset,
    tmp_path: Path,
    phases: Phases,
    monkeypatch: pytest.MonkeyPatch,
    step: dict[str, Any] | None,
) -> None:
    """A third of the examples has no label: labelled ones come again in their place."""
    labels = tumours.train.labels.copy()
    labels[::3] = UNLABELLED
    dataset = replace(tumours, train=replace(tumours.train, labels=labels))
    made = wanted(seed_recipe, *([step] if step else []), is_distilled=step is None)
    workspace, counts = workspace_of(made, dataset, tmp_path, phases)
    teacher_answers = teach(workspace)
    starts: dict[str, dict[str, Tensor]] = {}
    train = workspace.trainer.train

    def noted(job: Job, advance: Callable[[int, float], None]) -> nn.Module:
        assert (job.soft is None) == (job.step == "control")
        starts.setdefault("control" if job.step == "control" else "student", copy.deepcopy(job.model.state_dict()))
        return train(job, advance)

    monkeypatch.setattr(workspace.trainer, "train", noted)
    shrink(workspace, teacher_answers)
    assert starts["control"].keys() == starts["student"].keys()
    for name, value in starts["student"].items():
        np.testing.assert_array_equal(starts["control"][name], value)
    students = sum(count for kind, count in counts.items() if kind not in ("teacher", "control"))
    (told,) = workspace.controls
    assert counts["control"] == students == told.num_steps
    assert told.num_repeated == int((labels == UNLABELLED).sum())
    assert counts["teacher"] < 3 * (len(labels) // 32), "the teacher has its own budget, of what has labels"


def test_layers_and_units_are_judged_on_examples_of_all_classes(
    seed_recipe: Recipe, tumours: Dataset, tmp_path: Path, phases: Phases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of the file."""
    dataset = replace(tumours, train=tumours.train.take(np.argsort(tumours.train.labels, kind="stable")))
    made = wanted(seed_recipe, STEPS[0] | {"stages": 1}, is_distilled=False)
    workspace, _ = workspace_of(made, dataset, tmp_path, phases)
    teacher_answers = teach(workspace)
    cut, shares = prune.prune, []
    known = {
        row.tobytes(): label for row, label in zip(dataset.train.inputs["features"], dataset.train.labels, strict=True)
    }

    def noted(model: nn.Module, amount: Any, example: tuple[Tensor, ...], *others: Any) -> nn.Module:
        shares.append(np.mean([known[row.numpy().tobytes()] for row in example[0][:64]]))
        return cut(model, amount, example, *others)

    monkeypatch.setattr(prune, "prune", noted)
    shrink(workspace, teacher_answers)
    assert shares == pytest.approx([dataset.train.labels.mean()] * 2, abs=0.05)
