"""A fine-tuned classifier of Hugging Face is the teacher it was trained to be, or is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from optimization.artifact import store
from optimization.artifact.store import Artifact
from optimization.errors import DataError, RecipeError
from optimization.graphs import graph
from optimization.networks import encoder, models, own_head
from optimization.readers.examples import Dataset, Split
from optimization.recipe import recipe
from optimization.recipe.architectures import HuggingFaceModel
from optimization.recipe.recipe import Recipe
from optimization.report.phases import Phases
from optimization.running import run
from optimization.running.rehearsal import rehearse
from optimization.running.shrink import shrink
from optimization.running.teach import teach
from optimization.running.workspace import Workspace
from optimization.tasks.classification import Classification
from optimization.tasks.multi_label import MultiLabel
from optimization.tasks.regression import Regression
from optimization.training.alone import Alone
from tests.optimization.networks.test_encoder import CONFIGS

transformers = pytest.importorskip("transformers")

LONG = pytest.mark.long
CLASSES = ("entailment", "neutral", "contradiction")
"""Not in the order of the alphabet, which the data have their classes in."""


class Silent:
    """Counts nothing."""

    def step(self, step: str, duration_s: float, work_s: float | None, num_samples: int, loss: float) -> None:
        pass


def fine_tuned(folder: Path, family: str = "bert", labels: tuple[str, ...] = CLASSES, **settings: Any) -> Any:
    """A tiny model with a classifier, at random, saved to `folder`."""
    torch.manual_seed(0)
    config = type(CONFIGS[family]).from_dict(CONFIGS[family].to_dict())
    config.id2label, config.label2id = dict(enumerate(labels)), {name: number for number, name in enumerate(labels)}
    config.num_labels = len(labels)
    config.update(settings)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and "embeddings" not in name:
            nn.init.normal_(weight, std=0.5)  # else all texts get almost one answer
    model.save_pretrained(folder)
    return model


def texts(classes: tuple[str, ...], num: int = 96) -> Dataset:
    random = np.random.default_rng(0)
    lengths = random.integers(3, 10, num)
    mask = (np.arange(9) < lengths[:, None]).astype(np.int64)
    ids = random.integers(5, 40, (num, 9)) * mask + (1 - mask)  # 1 is RoBERTa's padding
    labels = np.arange(num) % len(classes)
    split = Split(inputs={"input_ids": ids, "attention_mask": mask}, labels=labels, lengths=mask.sum(axis=1))
    return Dataset(train=split, validation=split, held_out=split, labels=classes)


def wanted(folder: Path, *further: dict[str, Any], training: dict[str, Any] | None = None, **model: Any) -> Recipe:
    teacher = {"model": {"kind": "huggingface", "name": str(folder)} | model, "training": training}
    data = {"kind": "table", "train": "texts.csv", "text": "text", "tokenizer": "tokenizer.json"}
    quantize = {"kind": "quantize", "calibration_samples": 16, "publish": "always", "method": "dynamic"}
    return recipe.parse({"name": "own", "workers": 1, "data": data, "teacher": teacher, "steps": [*further, quantize]})


def made(wanted: Recipe, dataset: Dataset, folder: Path) -> tuple[Workspace, Artifact]:
    dataset = own_head.fit(wanted.teacher, dataset)
    rehearse(wanted, dataset)
    with Phases(Console(quiet=True)) as phases:
        workspace = Workspace(
            recipe=wanted,
            dataset=dataset,
            folder=folder,
            trainer=Alone(dataset.train, Silent(), lambda _model: None),
            phases=phases,
        )
        shrink(workspace, teach(workspace))
        return workspace, run.publish(wanted, workspace, folder / "artifacts")


def answers(path: Path, split: Split) -> np.ndarray:
    return graph.predict(graph.session(path), split.batch(np.arange(len(split))))


def expected(model: Any, split: Split) -> np.ndarray:
    inputs = {name: torch.from_numpy(values) for name, values in split.batch(np.arange(len(split))).items()}
    with torch.inference_mode():
        logits = model(**inputs).logits
    return (torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)).numpy()


@pytest.mark.parametrize("family", list(CONFIGS))
def test_without_training_the_teacher_answers_as_transformers_does(family: str, tmp_path: Path) -> None:
    """Head, classes and all; the classifier was fresh and random."""
    model = fine_tuned(tmp_path, family)
    dataset = own_head.fit(wanted(tmp_path).teacher, texts(tuple(sorted(CLASSES))))
    assert dataset.labels == CLASSES
    built = models.build(HuggingFaceModel(kind="huggingface", name=str(tmp_path)), dataset, seed=0)
    with torch.inference_mode():
        got = dataset.task.served(built)(*map(torch.from_numpy, dataset.train.inputs.values())).numpy()
    answer = expected(model, dataset.train)
    assert answer.std(axis=0).max() > 1e-2, "the families would be told apart"
    np.testing.assert_allclose(got, answer, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    ["bert", *(pytest.param(each, marks=LONG) for each in ("albert", "distilbert", "electra", "mpnet", "roberta"))],
)
def test_its_head_goes_through_distillation_and_export(family: str, tmp_path: Path) -> None:
    """The student begins with the teacher's head; what is published names the model's classes in its order."""
    model = fine_tuned(tmp_path, family)
    student = {"kind": "teacher_layers", "keep": [0]} if family != "albert" else {
        "kind": "huggingface", "name": str(tmp_path)
    }  # fmt: skip
    distill = {"kind": "distill", "student": student, "training": {"epochs": 1, "batch_size": 32}}
    workspace, published = made(wanted(tmp_path, distill), texts(tuple(sorted(CLASSES))), tmp_path)
    teacher = workspace.candidates[0]
    np.testing.assert_allclose(
        answers(teacher.path, workspace.dataset.held_out), expected(model, workspace.dataset.held_out), atol=1e-4
    )
    manifest = store.load(published.path).manifest
    assert [each.step for each in manifest.measurements] == ["teacher", "control", "distill", "quantize"]
    assert (manifest.labels, manifest.task) == (CLASSES, "classification")
    assert (manifest.outputs[0].shape, manifest.outputs[0].meaning) == (("batch", 3), "probabilities")


@pytest.mark.parametrize(
    ("labels", "settings", "model", "classes"),
    [
        (("POSITIVE", "NEGATIVE"), {}, {}, ("negative", "positive")),
        (("LABEL_0", "LABEL_1"), {}, {}, ("0", "1")),
        (("NEG", "POS"), {}, {"labels": ["0", "1"]}, ("0", "1")),
        (("spam",), {"problem_type": "multi_label_classification"}, {"labels": ["ham", "spam"]}, ("ham", "spam")),
        (
            ("relevant",),
            {},
            {"labels": ["no", "yes"], "overrides": {"problem_type": "multi_label_classification"}},
            ("no", "yes"),
        ),
    ],
    ids=["two logits", "unnamed", "named by the recipe", "one logit", "one logit, said"],
)
def test_two_classes_are_kept_in_one_logit_or_two(
    labels: tuple[str, ...], settings: dict[str, Any], model: dict[str, Any], classes: tuple[str, ...], tmp_path: Path
) -> None:
    reference = fine_tuned(tmp_path, labels=labels, num_hidden_layers=1, **settings)
    data = texts(classes)
    workspace, published = made(wanted(tmp_path, **model), data, tmp_path)
    teacher, manifest = workspace.candidates[0], published.manifest
    answer = expected(reference, data.held_out)
    np.testing.assert_allclose(answers(teacher.path, data.held_out), answer, atol=1e-4)
    assert manifest.labels == tuple(model.get("labels", labels))
    names = [manifest.labels[number] for number in data.task.answers(answer)]
    right = np.mean([one.casefold().removeprefix("label_") == data.labels[label]
                     for one, label in zip(names, data.held_out.labels, strict=True)])  # fmt: skip
    assert manifest.measurements[0].quality.value == pytest.approx(right), "answers and labels are matched by name"


@pytest.mark.parametrize("kind", ["regression", "multi_label"])
def test_a_head_of_numbers_or_of_several_labels_is_kept(kind: str, tmp_path: Path) -> None:
    """A number is served as it is; the data's labels are brought into the order of the model's sigmoids, by name."""
    random = np.random.default_rng(0)
    if kind == "regression":
        reference = fine_tuned(tmp_path, labels=("LABEL_0",), problem_type="regression", num_hidden_layers=1)
        data = replace_labels(texts(CLASSES), random.normal(size=96).astype(np.float32), task=Regression(), labels=())
    else:
        problem = "multi_label_classification"
        reference = fine_tuned(tmp_path, problem_type=problem, num_hidden_layers=1)
        some = random.integers(0, 2, (96, 3))
        data = replace_labels(texts(CLASSES), some, task=MultiLabel(), labels=tuple(sorted(CLASSES)))
    workspace, published = made(wanted(tmp_path), data, tmp_path)
    inputs = {name: torch.from_numpy(values) for name, values in data.held_out.batch(np.arange(96)).items()}
    with torch.inference_mode():
        logits = reference(**inputs).logits
    answer = logits if kind == "regression" else torch.sigmoid(logits)
    np.testing.assert_allclose(answers(workspace.candidates[0].path, data.held_out), answer.numpy(), atol=1e-4)
    manifest = published.manifest
    assert manifest.task == kind
    assert manifest.labels == (CLASSES if kind == "multi_label" else None)
    if kind == "multi_label":
        order = [sorted(CLASSES).index(each) for each in CLASSES]
        np.testing.assert_array_equal(workspace.dataset.held_out.labels, data.held_out.labels[:, order])


def replace_labels(dataset: Dataset, values: np.ndarray, **settings: Any) -> Dataset:
    split = replace(dataset.train, labels=values)
    return replace(dataset, train=split, validation=split, held_out=split, **settings)


@pytest.mark.parametrize(
    ("task", "settings", "problem"),
    [
        (Regression(), {}, "must give one number a text for data.task regression, got 3 outputs"),
        (MultiLabel(), {}, "must have a sigmoid for each label for data.task multi_label, got problem_type None"),
    ],
    ids=["regression", "multi_label"],
)
def test_the_head_of_a_classifier_is_none_for_numbers_or_several_labels(
    task: Regression | MultiLabel, settings: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    fine_tuned(tmp_path, **settings)
    with pytest.raises(RecipeError, match=problem):
        own_head.fit(wanted(tmp_path).teacher, replace(texts(CLASSES), task=task))


def test_a_head_is_trained_on_where_the_classes_are_its_own(tmp_path: Path) -> None:
    model, data = fine_tuned(tmp_path, num_hidden_layers=1), texts(tuple(sorted(CLASSES)))
    trained = wanted(tmp_path, training={"epochs": 1, "batch_size": 32, "learning_rate": 1e-9})
    workspace, _ = made(trained, data, tmp_path)
    got = answers(workspace.candidates[0].path, data.held_out)
    np.testing.assert_allclose(got, expected(model, data.held_out), atol=1e-4)


def test_other_classes_are_refused_with_both_lists_unless_a_new_head_is_asked_for(tmp_path: Path) -> None:
    fine_tuned(tmp_path)
    data, once = texts(("bad", "good")), {"epochs": 1, "batch_size": 32}
    both = re.escape("among the model's ['entailment', 'neutral', 'contradiction'], got ['bad', 'good']")
    for training in (None, once):
        with pytest.raises(DataError, match=both + ".*model.head: new"):
            own_head.fit(wanted(tmp_path, training=training).teacher, data)
    fresh = wanted(tmp_path, training=once, head="new")
    assert own_head.fit(fresh.teacher, data) is data
    assert models.build(fresh.teacher.model, data, seed=0).head.out_features == 1


@pytest.mark.parametrize("case", ["no classifier", "new classifier", "random weights"])
def test_a_head_at_random_is_no_teacher(case: str, tmp_path: Path) -> None:
    if case == "no classifier":
        transformers.AutoModel.from_config(CONFIGS["bert"]).save_pretrained(tmp_path)
    else:
        fine_tuned(tmp_path)
    model = {"no classifier": {}, "new classifier": {"head": "new"}, "random weights": {"pretrained": False}}[case]
    with pytest.raises(RecipeError, match=r"teacher\.training must be set where no classifier comes with the model"):
        own_head.fit(wanted(tmp_path, **model).teacher, texts(CLASSES))


@pytest.mark.parametrize(
    ("labels", "settings", "model", "problem"),
    [
        (
            ("score",),
            {},
            {},
            r"got a regression \(one logit, problem_type None\): .*model\.overrides",
        ),
        (("score",), {"problem_type": "regression"}, {}, "got a regression"),
        (
            CLASSES,
            {"problem_type": "multi_label_classification"},
            {},
            "multi_label_classification with 3 outputs.*data.task",
        ),
        (("spam",), {"problem_type": "multi_label_classification"}, {}, r"model\.labels must name both classes"),
        (CLASSES, {}, {"labels": ["a", "b"]}, r"model\.labels must name the 3 classes"),
        (CLASSES, {}, {"pooling": "mean"}, r"model\.pooling must be left out"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(
    labels: tuple[str, ...], settings: dict[str, Any], model: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    fine_tuned(tmp_path, labels=labels, **settings)
    with pytest.raises(RecipeError, match=problem):
        own_head.fit(wanted(tmp_path, **model).teacher, texts(CLASSES))


def test_the_head_of_another_task_is_not_lost_without_a_word(tmp_path: Path) -> None:
    transformers.AutoModelForTokenClassification.from_config(CONFIGS["bert"]).save_pretrained(tmp_path)
    once = {"epochs": 1, "batch_size": 32}
    with pytest.raises(RecipeError, match=r"got BertForTokenClassification: set model\.head: new"):
        own_head.fit(wanted(tmp_path, training=once).teacher, texts(CLASSES))
    own_head.fit(wanted(tmp_path, training=once, head="new").teacher, texts(CLASSES))


def test_a_classifier_without_its_weights_is_refused(tmp_path: Path) -> None:
    """As where the configuration of a classifier was put beside the weights of the encoder alone."""
    fine_tuned(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    transformers.AutoModel.from_config(CONFIGS["bert"]).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(RecipeError, match=r"must have all weights of its classifier, it lacks classifier\."):
        encoder.build(HuggingFaceModel(kind="huggingface", name=str(tmp_path)), Classification(), CLASSES, 3)


def test_a_students_own_head_must_answer_what_its_teacher_does(tmp_path: Path) -> None:
    fine_tuned(tmp_path)
    student = HuggingFaceModel(kind="huggingface", name=str(tmp_path))
    with pytest.raises(RecipeError, match=r"must have the teacher's classes .* in 3 outputs.*head: new"):
        models.build(student, texts(tuple(sorted(CLASSES))), seed=0)
    models.build(student, replace(texts(CLASSES), labels=CLASSES), seed=0)
