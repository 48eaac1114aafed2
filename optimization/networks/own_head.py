"""The head that a model of Hugging Face was fine-tuned with: its classes, and what its logits are.

    config.json ─▶ find ─▶ OwnHead ─▶ fit: the data take over its classes ─▶ encoder.build keeps its weights

What no task here can hold is refused, and so is a head that would be lost without a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from optimization.errors import DataError, RecipeError
from optimization.extras import require
from optimization.networks import foreign_code
from optimization.readers import labels
from optimization.readers.examples import Dataset
from optimization.recipe.architectures import HuggingFaceModel
from optimization.recipe.recipe import Teacher
from optimization.tasks.classification import Classification
from optimization.tasks.embedding import Embedding
from optimization.tasks.multi_label import MultiLabel
from optimization.tasks.task import LabelledTask
from optimization.tasks.token_classification import TokenClassification

_CLASSIFIERS = {"texts": "ForSequenceClassification", "pictures": "ForImageClassification"}
_OF_WORDS = "ForTokenClassification"
_TO_TRAIN_ON = ("Model", "ForMaskedLM", "ForPreTraining", "ForCausalLM", "LMHeadModel", "ForMaskedImageModeling")
"""Ends of the names of architectures whose heads only serve to learn what language or pictures are."""
_SIGMOIDS = "multi_label_classification"
NEW = "set model.head: new to train a new classifier in its place"


@dataclass(frozen=True, kw_only=True)
class OwnHead:
    """A head that is kept."""

    labels: tuple[str, ...]
    """Its classes, in the order of its outputs; of one output, the class below 0.5 and the one above; of a regression,
    none."""
    num_outputs: int
    task: LabelledTask
    """What it is for."""


def describe(config: HuggingFaceModel) -> Any:
    """Its configuration, with what the recipe overrides.

    Raises:
        RecipeError: there is no such model, or its configuration does not know a setting.
    """
    transformers = require("transformers", extra="hf")
    try:
        found = transformers.AutoConfig.from_pretrained(config.name, trust_remote_code=foreign_code.may_run(config))
    except (OSError, ValueError, TypeError) as error:
        raise missing(config, error) from error
    unknown = [name for name in config.overrides if not hasattr(found, name)]
    if unknown:
        raise RecipeError(f"overrides must name settings of {found.model_type}, got {unknown[0]!r}")
    found.update(config.overrides)
    return found


def missing(config: HuggingFaceModel, error: Exception) -> RecipeError:
    """What to tell where there is no such model."""
    where = "a hub name or a folder with config.json"
    return RecipeError(f"model.name must be {where}, got {config.name!r}: {str(error).splitlines()[0]}")


def find(config: HuggingFaceModel, task: LabelledTask, of: Literal["texts", "pictures"] = "texts") -> OwnHead | None:
    """The model's own head, for what the data are and are for; none where it has none, or a new one is asked for.

    Raises:
        RecipeError: its head cannot be kept, or the recipe says something of it that does not fit.
    """
    if config.head == "new" or not config.pretrained or task.kind == "embedding":
        return None
    described = describe(config)
    heads = _heads(described)
    if not heads:
        if config.labels is not None:
            raise RecipeError(f"model.labels must be left out: {config.name!r} has no classifier of its own")
        return None
    if task.is_by_token:
        if not heads[0].endswith(_OF_WORDS):
            rule = f"model.name must be an encoder or a model {_OF_WORDS} for data.task {task.kind}"
            raise RecipeError(f"{rule}, got {heads[0]}: {NEW}")
    elif not heads[0].endswith(_CLASSIFIERS[of]):
        raise RecipeError(f"model.name must be an encoder or a classifier of {of}, got {heads[0]}: {NEW}")
    for setting in ("pooling", "dropout"):
        if getattr(config, setting) is not None:
            raise RecipeError(
                f"model.{setting} must be left out: {config.name!r} has a classifier of its own, or {NEW}"
            )
    match task.kind:
        case "regression" | "ranking":
            return _of_numbers(config, described, task)
        case "multi_label":
            return _of_several(config, described)
        case "token_classification":
            names = _names(config, described)
            return OwnHead(labels=names, num_outputs=len(names), task=TokenClassification(classes=names))
    num = described.num_labels
    return OwnHead(labels=_labels(config, described), num_outputs=num, task=Classification(two_logits=num == 2))


def is_classifier(described: Any) -> bool:
    """Whether a model of that configuration comes with a classifier of its own.

    Raises:
        RecipeError: it comes with a head for another task.
    """
    heads = _heads(described)
    if heads and not heads[0].endswith(_CLASSIFIERS["texts"]):
        raise RecipeError(
            f"MODEL must be an encoder or a classifier of texts, got {heads[0]}: write its recipe by hand"
        )
    return bool(heads)


def _heads(described: Any) -> list[str]:
    return [name for name in described.architectures or () if not name.endswith(_TO_TRAIN_ON)]


def fit(teacher: Teacher, dataset: Dataset) -> Dataset:
    """The data as the teacher has it: with its classes, in its order, where it came with some.

    Raises:
        RecipeError: the teacher is a head at random that nothing trains, or one that cannot be kept.
        DataError: the data have other classes.
    """
    model = teacher.model
    if isinstance(dataset.task, Embedding):
        return replace(dataset, task=_wide(dataset.task, teacher))
    if not isinstance(model, HuggingFaceModel):
        return dataset
    head = find(model, dataset.task, "texts" if dataset.image is None else "pictures")
    if head is None:
        if teacher.training is None and model.weights is None:
            rule = "teacher.training must be set where no classifier comes with the model"
            raise RecipeError(f"{rule}, got {model.name!r} with a new one, which knows nothing")
        return dataset
    if not head.labels:
        return dataset  # numbers have no order to be brought into
    try:
        return replace(labels.reordered(dataset, head.labels), task=head.task)
    except DataError as error:
        advice = "say with model.labels what the data call them, or set model.head: new and train it"
        raise DataError(f"{error}; {advice}") from error


def expect(config: HuggingFaceModel, head: OwnHead, classes: Sequence[str], num_outputs: int) -> None:
    """Check that the head answers what the others answer.

    Raises:
        RecipeError: it has other classes, another order or another number of outputs.
    """
    if [*map(labels.key, head.labels)] == [*map(labels.key, classes)] and head.num_outputs == num_outputs:
        return
    raise RecipeError(
        f"model.name {config.name!r} must have the teacher's classes {list(classes)} in {num_outputs} outputs, "
        f"got {list(head.labels)} in {head.num_outputs}: {NEW}"
    )


def gives_vectors(config: HuggingFaceModel, task: LabelledTask, width: int, wanted: int) -> bool:
    """Whether the states that a text encoder came with are what is wanted, as they are."""
    return task.kind == "embedding" and config.pretrained and config.head == "own" and width == wanted


def _wide(task: Embedding, teacher: Teacher) -> Embedding:
    """The task with the width of its vectors."""
    model = teacher.model
    if not isinstance(model, HuggingFaceModel):
        if not task.width:
            raise RecipeError("data.embedding must be set where the teacher is no text encoder, got none")
        return task
    width = describe(model).hidden_size
    task = replace(task, width=task.width or width)
    if teacher.training is None and model.weights is None and not gives_vectors(model, task, width, task.width):
        rule = "teacher.training must be set where vectors are not the teacher's own states"
        raise RecipeError(f"{rule}, got {model.name!r} of width {width} for data.embedding {task.width}")
    return task


def whole(kind: Any, config: HuggingFaceModel, described: Any) -> Any:
    """The fine-tuned model of that `kind` of transformers, all of whose weights must be there.

    Raises:
        RecipeError: its file lacks some.
    """
    body, loaded = kind.from_pretrained(
        config.name, config=described, output_loading_info=True, trust_remote_code=config.code is not None
    )
    if lacking := sorted(loaded["missing_keys"]):
        rule = f"model.name {config.name!r} must have all weights of its classifier"
        raise RecipeError(f"{rule}, it lacks {lacking[0]}: {NEW}")
    return body.float()


def _of_numbers(config: HuggingFaceModel, described: Any, task: LabelledTask) -> OwnHead:
    """The head of a regression or of a ranking: one logit, the number itself."""
    num, problem = described.num_labels, described.problem_type
    if num != 1 or problem not in (None, "regression"):
        rule = f"model.name {config.name!r} must give one number a text for data.task {task.kind}"
        raise RecipeError(f"{rule}, got {num} outputs of problem_type {problem}: {NEW}")
    if config.labels is not None:
        raise RecipeError(f"model.labels must be left out for data.task {task.kind}, got {list(config.labels)}")
    return OwnHead(labels=(), num_outputs=1, task=task)


def _of_several(config: HuggingFaceModel, described: Any) -> OwnHead:
    """The head of several labels a text: a logit with a sigmoid for each."""
    num, problem = described.num_labels, described.problem_type
    if problem != _SIGMOIDS:
        rule = f"model.name {config.name!r} must have a sigmoid for each label for data.task multi_label"
        advice = f"if it has, say so with model.overrides: {{problem_type: {_SIGMOIDS}}}, or {NEW}"
        raise RecipeError(f"{rule}, got problem_type {problem}: {advice}")
    return OwnHead(labels=_names(config, described), num_outputs=num, task=MultiLabel())


def _names(config: HuggingFaceModel, described: Any) -> tuple[str, ...]:
    """What each of its logits is called."""
    num = described.num_labels
    if config.labels is not None and len(config.labels) != num:
        raise RecipeError(f"model.labels must name the {num} labels of {config.name!r}, got {config.labels}")
    return config.labels or tuple(described.id2label[number] for number in range(num))


def _labels(config: HuggingFaceModel, described: Any) -> tuple[str, ...]:
    """Its classes in order, checked against what its logits are."""
    num, problem = described.num_labels, described.problem_type
    kept = f"model.name {config.name!r} must give one class a sample"
    if num == 1 and problem != _SIGMOIDS:
        raise RecipeError(
            f"{kept}, got a regression (one logit, problem_type {problem}): if a sigmoid makes it the probability of a "
            f"class, say so with model.overrides: {{problem_type: {_SIGMOIDS}}}; if the data are numbers, with "
            "data.task: regression"
        )
    if num > 1 and problem not in (None, "single_label_classification"):
        raise RecipeError(f"{kept}, got problem_type {problem} with {num} outputs, which needs another data.task")
    if num == 1 and config.labels is None:
        raise RecipeError(f"model.labels must name both classes of {config.name!r}, which has one logit, got none")
    if config.labels is not None and len(config.labels) != max(2, num):
        raise RecipeError(f"model.labels must name the {max(2, num)} classes of {config.name!r}, got {config.labels}")
    return config.labels or tuple(described.id2label[number] for number in range(num))
