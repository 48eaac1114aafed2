"""Makes the student a recipe names: an architecture of its own, or some of the teacher's layers."""

import copy
from typing import Any

from torch import nn

from optimization import models
from optimization.architectures import Student, TeacherLayers
from optimization.errors import RecipeError
from optimization.examples import Dataset


def build(config: Student, teacher: nn.Module, dataset: Dataset, seed: int) -> nn.Module:
    """The student before it is trained; equal seeds give equal weights.

    Raises:
        RecipeError: the teacher lacks a layer that is to be kept.
        DataError: the student does not fit the data.
    """
    if isinstance(config, TeacherLayers):
        return from_layers(teacher, config.keep)
    return models.build(config, dataset, seed)


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
