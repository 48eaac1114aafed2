"""Every task goes the whole way: distil, prune, quantize, export, measure, verify, publish."""

import io
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from scipy import special
from torch import Tensor, nn

from optimization.artifact.manifest import LabelledKind
from optimization.errors import DataError, RecipeError
from optimization.foreign import onnx_teacher
from optimization.graphs import export, graph
from optimization.measuring import judging, latency, measures
from optimization.readers.examples import Dataset, Split
from optimization.recipe import recipe
from optimization.recipe.recipe import Recipe
from optimization.recipe.settings import MeasureChoice
from optimization.report import terminal
from optimization.report.phases import Phases
from optimization.running import run
from optimization.running.shrink import shrink
from optimization.running.teach import teach
from optimization.running.workspace import Workspace
from optimization.tasks.embedding import Embedding
from optimization.tasks.named import TASKS
from optimization.tasks.regression import Regression
from optimization.tasks.task import LabelledTask
from optimization.training.alone import Alone
from tests.optimization.tasks import texts

TRAINING = {"epochs": 8, "batch_size": 64, "precision": "fp32", "learning_rate": 0.01}
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "workers": 1,
    "data": {"kind": "breast_cancer"},
    "teacher": {"model": {"kind": "mlp", "hidden": [32]}, "training": TRAINING},
    "steps": [
        {"kind": "distill", "student": {"kind": "mlp", "hidden": [16]}, "training": TRAINING},
        {"kind": "prune", "ratio": 0.25, "recovery": {**TRAINING, "epochs": 2}},
        {"kind": "quantize", "max_changed": 0.9, "publish": "always"},
    ],
}


class Meter:
    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Counts(Regression):
    """A task that nobody else knows: how often something happens, learned as logarithms."""

    def hard_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.poisson_nll_loss(logits[:, 0], labels, reduction="none")

    def served(self, model: nn.Module) -> nn.Module:
        return Exponential(model)

    def read(self, outputs: NDArray[np.float32], output: str) -> NDArray[np.float32]:
        return np.exp(outputs) if output == "logits" else outputs


class Exponential(nn.Module):
    def __init__(self, logits: nn.Module) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.exp(self.logits(*inputs))


def labels_of(kind: str, inputs: NDArray[np.float32]) -> tuple[NDArray[Any], tuple[str, ...]]:
    sums = inputs[:, :3] + inputs[:, 3:6]
    match kind:
        case "classification":
            return sums.argmax(axis=1), ("a", "b", "c")
        case "multi_label":
            return (sums > 0).astype(np.int64), ("a", "b", "c")
        case "ranking":
            relevance = sums[:, 0].round().clip(0)
            return TASKS["ranking"].encode([*zip(relevance, np.arange(len(sums)) // 10, strict=True)], ()), ()
        case "embedding":
            return TASKS["embedding"].encode(sums.argmax(axis=1).tolist(), ()), ()
        case "counts":
            return np.random.default_rng(1).poisson(np.exp(sums[:, 0] / 2)).astype(np.float32), ()
        case _:
            return sums.sum(axis=1), ()


def recipe_of(task: LabelledTask, num_outputs: int) -> Recipe:
    """Of samples of numbers, models of such; of texts, models of their tokens."""
    if not task.is_by_token:
        return recipe.parse(RECIPE)
    teacher, student = (
        {
            "kind": "torch",
            "name": f"{texts.__name__}:OfTokens",
            "kwargs": {"hidden": hidden, "num_outputs": num_outputs},
        }
        for hidden in (32, 16)
    )
    distill, *others = RECIPE["steps"]
    return recipe.parse(
        {
            **RECIPE,
            "teacher": {"model": teacher, "training": TRAINING},
            "steps": [{**distill, "student": student}, *others],
        }
    )


def dataset_of(kind: str, task: LabelledTask) -> Dataset:
    if kind == "token_classification":
        return texts.named_words(Path(tempfile.mkdtemp()))
    inputs = np.random.default_rng(0).normal(size=(700, 8)).astype(np.float32)
    labels, names = labels_of(kind, inputs)
    if isinstance(task, Embedding):
        task = replace(task, width=8)
    train, validation, held_out = (
        Split(inputs={"features": inputs[rows]}, labels=labels[rows])
        for rows in (slice(0, 400), slice(400, 500), slice(500, 700))
    )
    return Dataset(train=train, validation=validation, held_out=held_out, labels=names, task=task)


@pytest.mark.parametrize("kind", [*TASKS, "counts"])
def test_each_task_goes_through_every_step_and_keeps_its_quality(
    kind: LabelledKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts are a task of this file: nothing but the task itself knows what it is."""
    monkeypatch.setattr(latency, "_ENOUGH_S", 0.05)
    monkeypatch.setattr(judging, "NUM_RESAMPLES", 50)
    dataset = dataset_of(kind, TASKS.get(kind, Counts()))
    wanted = recipe_of(dataset.task, dataset.num_outputs)
    dataset = run.measured_by(wanted, dataset)
    with Phases(Console(file=io.StringIO())) as phases:
        trainer = Alone(dataset.train, Meter(), lambda _model: None)
        workspace = Workspace(recipe=wanted, dataset=dataset, folder=tmp_path, trainer=trainer, phases=phases)
        shrink(workspace, teach(workspace))
        manifest = run.publish(wanted, workspace, tmp_path / "artifacts").manifest
    assert [each.step for each in manifest.measurements] == ["teacher", "control", "distill", "prune", "quantize"]
    assert manifest.task == dataset.task.kind
    assert manifest.outputs[0].meaning == dataset.task.output
    assert manifest.parity is not None and manifest.parity <= 1e-4
    quality, measure = manifest.measurements[-1].quality, dataset.measure
    assert (quality.metric, quality.lower_is_better) == (measure.title, measure.lower_is_better)
    labels = dataset.held_out.labels
    nothing = np.zeros_like(dataset.task.ideal(labels, dataset.num_outputs)) + dataset.train.labels.mean()
    guessed = judging.judge(measure, dataset.task, nothing, labels).value
    assert measure.drop(guessed, quality.value) < 0, "better than one answer for all"
    lost = manifest.findings.differences[0]
    assert lost.low <= lost.drop <= lost.high
    assert any(terminal.gained(lost) in line for line in terminal.statements(manifest))


@pytest.mark.parametrize("kind", TASKS)
def test_a_model_that_is_always_right_is_the_best_by_every_measure(kind: LabelledKind) -> None:
    dataset = dataset_of(kind, TASKS[kind])
    task = dataset.task
    labels = dataset.held_out.labels
    for name in task.measures:
        if name == "f1" and len(dataset.labels) != 2:
            continue
        measure = measures.find(MeasureChoice(name=name), task)
        best = 0 if measure.lower_is_better else 1
        assert measure.of(task, task.ideal(labels, dataset.num_outputs), labels) == pytest.approx(best)


def test_several_labels_are_learned_by_their_cross_entropies(random: np.random.Generator) -> None:
    task = TASKS["multi_label"]
    logits, teacher = (random.normal(size=(20, 4)).astype(np.float32) for _ in range(2))
    labels = random.integers(0, 2, (20, 4))
    hard = task.hard_loss(torch.from_numpy(logits), torch.from_numpy(labels)).numpy()
    np.testing.assert_allclose(hard, -special.log_expit(np.where(labels, logits, -logits)).sum(axis=1), rtol=1e-4)
    soft = task.soft_loss(torch.from_numpy(logits), torch.from_numpy(teacher), torch.from_numpy(labels), 2.0, "kl")
    p, q = special.expit(teacher / 2), special.expit(logits / 2)
    expected = 4 * (special.rel_entr(p, q) + special.rel_entr(1 - p, 1 - q)).sum(axis=1)
    np.testing.assert_allclose(soft.numpy(), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(task.divergence(p, q) * 4, expected, rtol=1e-4)
    assert not task.hard_loss(torch.from_numpy(logits), -torch.ones(20, 4, dtype=torch.int64)).any(), "unlabelled"


def test_labels_are_read_as_lists_or_with_bars_between_them() -> None:
    task = TASKS["multi_label"]
    names = task.names(["b|a", "", ["c"]])
    assert names == ("a", "b", "c")
    assert task.encode(["b|a", "", ["c"]], names).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_an_unlabelled_number_is_not_learned() -> None:
    logits, labels = torch.tensor([[1.0], [3.0]], requires_grad=True), torch.tensor([torch.nan, 1.0])
    losses = TASKS["regression"].hard_loss(logits, labels)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert losses.tolist() == [0, 4]
    assert logits.grad is not None and logits.grad.tolist() == [[0], [4]]


def test_rank_correlation_of_constant_labels_is_refused_before_training() -> None:
    dataset = dataset_of("regression", TASKS["regression"])
    flat = replace(dataset.held_out, labels=np.ones(200, np.float32))
    wanted = recipe.parse({**RECIPE, "measure": "spearman"})
    with pytest.raises(DataError, match=r"spearman must be defined on the held-out examples, got: .*constant"):
        run.measured_by(wanted, replace(dataset, held_out=flat))


def test_mean_average_precision_of_a_label_that_no_example_has_is_refused_before_training() -> None:
    dataset = dataset_of("multi_label", TASKS["multi_label"])
    lacking = replace(dataset.held_out, labels=dataset.held_out.labels * np.array([1, 1, 0]))
    wanted = recipe.parse({**RECIPE, "measure": "map"})
    with pytest.raises(DataError, match=r"map must be defined on the held-out examples, got: No positive class"):
        run.measured_by(wanted, replace(dataset, held_out=lacking))


def test_a_budget_of_shares_lies_below_1_and_one_of_errors_wherever() -> None:
    search = {"budget": {"max_drop": 2.5}, "choices": {"distill.student.hidden": [[8], [16]]}}
    wanted = recipe.parse({**RECIPE, "search": search})
    assert run.measured_by(wanted, dataset_of("regression", TASKS["regression"])).measure.name == "mse"
    with pytest.raises(RecipeError, match=r"search.budget.max_drop must lie in \(0, 1\) for accuracy, got 2.5"):
        run.measured_by(wanted, dataset_of("classification", TASKS["classification"]))


def test_an_onnx_file_of_numbers_is_a_regressions_teacher(tmp_path: Path) -> None:
    dataset, path = dataset_of("regression", TASKS["regression"]), tmp_path / "model.onnx"
    export.export(nn.Linear(8, 1), path, dataset.train, task=dataset.task)
    assert onnx_teacher.check(path, graph.read(path), dataset, None) == "values"
