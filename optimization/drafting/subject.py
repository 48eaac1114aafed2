"""Looks at the model that a recipe is drafted for: what it is for, its classes, the longest text that it takes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optimization.artifact.manifest import Meaning
from optimization.drafting.task import DraftedTask
from optimization.errors import RecipeError
from optimization.foreign import convert
from optimization.graphs import graph, outputs
from optimization.networks import own_head
from optimization.recipe.architectures import HuggingFaceModel

_SEVERAL = "multi_label_classification"
_PADDING_FIRST = ("camembert", "roberta", "xlm-roberta")
"""Families that count positions from behind the padding's."""
_DEFAULT_POSITIONS = 512
"""Of a family without a table of positions."""
TEXT_INPUTS = {"input_ids", "attention_mask"}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model that is to be made small."""

    name: str
    """A folder, hub name or file, as it was given."""
    is_onnx: bool
    takes_text: bool
    task: DraftedTask | None
    """What it is for; none where it does not tell."""
    has_classifier: bool
    """Whether it was trained for a task; else it is only an encoder."""
    classes: tuple[str, ...]
    """Its own, in the order of its outputs; of a class below and above one half, none."""
    num_outputs: int | None
    output: Meaning | None
    """What an ONNX file's first output is, where the graph tells."""
    max_tokens: int
    about: str
    """What it is, in a line for people."""


def look(name: str, code: str | None = None) -> Subject:
    """The model in the folder, on the hub or in the ONNX file, Keras file or SavedModel `name`.

    Raises:
        RecipeError: there is no such model, or it is for something that no recipe makes.
        GraphError: the file is damaged.
    """
    path = Path(name)
    if path.is_file() and path.suffix not in (".onnx", convert.KERAS):
        raise RecipeError(f"MODEL must be a folder, a hub name, or a file that ends in .onnx or .keras, got {name!r}")
    if path.is_file() or (path / convert.SAVED_MODEL).is_file():
        return _of_graph(name)
    return _of_transformers(name, code)


def model_settings(subject: Subject, labels: tuple[str, ...] | None, code: str | None) -> dict[str, Any]:
    """What the recipe says of a model of transformers."""
    settings: dict[str, Any] = {"kind": "huggingface", "name": subject.name}
    if labels is not None:
        settings["labels"] = list(labels)
    if code is not None:
        settings["code"] = code
    return settings


def _of_transformers(name: str, code: str | None) -> Subject:
    config = HuggingFaceModel.model_validate({"kind": "huggingface", "name": name, "code": code})
    described = own_head.describe(config)
    is_classifier = own_head.is_classifier(described)
    num = described.num_labels
    task: DraftedTask | None = None
    if is_classifier and described.problem_type == _SEVERAL and num > 1:
        task = "multi_label"
    elif is_classifier and num == 1 and described.problem_type != _SEVERAL:
        task = "regression"
    elif is_classifier:
        task = "classification"
    has_classes = is_classifier and num > 1
    outputs = f"{num} outputs, {task}" if task else "no classifier of its own"
    return Subject(
        name=name,
        is_onnx=False,
        takes_text=True,
        task=task,
        has_classifier=is_classifier,
        classes=tuple(str(described.id2label[number]) for number in range(num)) if has_classes else (),
        num_outputs=num if is_classifier else None,
        output=None,
        max_tokens=_max_tokens(name, described),
        about=f"{described.model_type} of Hugging Face, {outputs}",
    )


def _max_tokens(name: str, described: Any) -> int:
    """By its table of positions, and by what its tokenizer's settings say where it lies in a folder."""
    most = getattr(described, "max_position_embeddings", None) or _DEFAULT_POSITIONS
    if described.model_type in _PADDING_FIRST:
        most -= described.pad_token_id + 1
    settings = Path(name) / "tokenizer_config.json"
    said = json.loads(settings.read_text()).get("model_max_length") if settings.is_file() else None
    return min(most, int(said)) if said else int(most)


def _of_graph(name: str) -> Subject:
    if Path(name).suffix != ".onnx":
        return Subject(
            name=name, is_onnx=True, takes_text=False, task=None, has_classifier=True, classes=(), num_outputs=None,
            output=None, max_tokens=_DEFAULT_POSITIONS, about="a Keras or TensorFlow model",
        )  # fmt: skip
    model = graph.read(Path(name))
    inputs, given = {each.name for each in graph.inputs(model)}, graph.outputs(model)[0]
    size = given.shape[-1] if len(given.shape) == 2 else None
    output = outputs.meanings(model)[0]
    return Subject(
        name=name,
        is_onnx=True,
        takes_text=inputs == TEXT_INPUTS,
        task=None,
        has_classifier=True,
        classes=(),
        num_outputs=size if isinstance(size, int) else None,
        output=output,
        max_tokens=_DEFAULT_POSITIONS,
        about=f"an ONNX file of {', '.join(sorted(inputs))}; {output or 'its graph does not tell what it gives'}",
    )
