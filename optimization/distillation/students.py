"""Makes the student a recipe names: an architecture of its own, or of the teacher its embeddings or some layers."""

import copy
from typing import Any, Literal

from torch import nn

from optimization.errors import DataError, RecipeError
from optimization.graphs import export
from optimization.networks import light_text, models
from optimization.networks.encoder import Encoder, keep_tokens
from optimization.pruning import prune
from optimization.pruning.prune import Amount
from optimization.readers.examples import Dataset
from optimization.recipe.architectures import BagOfNgrams, Student, TeacherLayers, TextCnn

_ROUND_TO = 8
"""Feed-forward units that products take at once."""


def build(config: Student, teacher: nn.Module, dataset: Dataset, seed: int) -> nn.Module:
    """The student before it is trained; equal seeds give equal weights.

    Raises:
        RecipeError: the teacher lacks a layer that is to be kept, an activation that is to be replaced, or embeddings,
            or does not run with those layers alone.
        DataError: the student does not fit the data.
        PruneError: its feed-forward units or heads cannot be cut.
    """
    if isinstance(config, TextCnn | BagOfNgrams):
        return light_text.build(config, teacher, dataset, seed)
    if not isinstance(config, TeacherLayers):
        return models.build(config, dataset, seed)
    student = from_layers(teacher, config.keep)
    if config.vocabulary is not None:
        if not isinstance(student, Encoder):
            raise RecipeError("distill.student.vocabulary must be left out: the teacher is no text encoder")
        keep_tokens(student, dataset.train.inputs["input_ids"], config.vocabulary)
    try:
        models.check(student, dataset)
    except DataError as error:
        rule = "distill.student.kind must not be teacher_layers: the teacher does not run without the others"
        raise RecipeError(f"{rule}, {error}") from error
    if config.activation is not None:
        activate(student, config.activation)
    if config.feed_forward < 1 or config.heads < 1:
        example = export.example(dataset.train, 2)
        amount = Amount(hidden=1 - config.feed_forward, heads=1 - config.heads, round_to=_ROUND_TO)
        student = prune.prune(prune.prepare(student, example), amount, example)
    if config.dropout is not None:
        for module in student.modules():
            if isinstance(module, nn.Dropout):
                module.p = config.dropout
    return student


def from_layers(teacher: nn.Module, keep: tuple[int, ...]) -> nn.Module:
    """A copy of `teacher` with those of its layers alone, in that order, as DistilBERT begins (arXiv:1910.01108).

    Raises:
        RecipeError: the teacher has no list of layers, or none of that number.
    """
    student = copy.deepcopy(teacher)
    stacks = {name: module for name, module in student.named_modules() if isinstance(module, nn.ModuleList)}
    if not stacks:
        raise RecipeError("distill.student.kind must not be teacher_layers: the teacher has no list of layers")
    name = max(stacks, key=lambda each: len(stacks[each]))
    layers = stacks[name]
    beyond = [index for index in keep if index >= len(layers)]
    if beyond:
        raise RecipeError(f"distill.student.keep must name layers in [0, {len(layers)}), got {beyond[0]}")
    student.set_submodule(name, nn.ModuleList(copy.deepcopy(layers[index]) for index in keep))
    for module in student.modules():
        described: Any = getattr(module, "config", None)
        if hasattr(described, "num_hidden_layers"):
            described.num_hidden_layers = len(keep)
    return student


def activate(model: nn.Module, name: Literal["relu", "gelu"]) -> None:
    """Put that activation in the place of all others, in place.

    Raises:
        RecipeError: the model has none that is a module.
    """
    found = [name for name, module in model.named_modules(remove_duplicate=False) if _is_activation(module)]
    if not found:
        raise RecipeError("distill.student.activation must be left out: the teacher's layers have none to replace")
    for each in found:
        model.set_submodule(each, nn.ReLU() if name == "relu" else nn.GELU())


def _is_activation(module: nn.Module) -> bool:
    is_known = isinstance(module, nn.ReLU | nn.GELU | nn.SiLU)
    return is_known or type(module).__module__ == "transformers.activations"
