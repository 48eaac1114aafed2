"""Builds what a recipe names before anything is trained, so that what does not fit is told at once."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from optimization.distillation import students, transfer
from optimization.graphs import export
from optimization.networks import models, own_tokenizer
from optimization.pruning import prune
from optimization.quantization import qat
from optimization.readers.examples import Dataset
from optimization.recipe.architectures import HuggingFaceModel, TorchModel
from optimization.recipe.methods import Prune
from optimization.recipe.recipe import Recipe


def rehearse(recipe: Recipe, dataset: Dataset, variants: Iterable[Recipe] = ()) -> None:
    """Build the teacher and the student, export those of others' code, and pair the states that are to be transferred.

    A teacher that is not trained is exported first of all anyway. The `variants` of a search share the recipe's
    teacher, and take the place of its steps.

    Raises:
        RecipeError: a model cannot be built, lacks the states, or learned with another tokenizer than the data's.
        DataError: a model does not fit the data.
        ExportError: a model computes what cannot be written in ONNX.
        PruneError: a student has nothing of what is to be cut.
    """
    if recipe.teacher.model is None:
        return
    tried = tuple(variants) or (recipe,)
    for each in tried:
        own_tokenizer.expect(each, dataset)
    teacher = models.build(recipe.teacher.model, dataset, recipe.seed)
    example = export.example(dataset.train, 2)
    if recipe.teacher.training is not None and isinstance(recipe.teacher.model, TorchModel | HuggingFaceModel):
        _export(teacher, dataset)
    for each in tried:
        student = teacher
        if each.distill is not None:
            student = students.build(each.distill.student, teacher, dataset, each.seed)
            if isinstance(each.distill.student, TorchModel | HuggingFaceModel):
                _export(student, dataset)
        for where, teaching in each.teachings.items():
            student_with_states = qat.prepare(student) if where == "quantize.training" else student
            transfer.pair_states(teaching.transfer, student_with_states, teacher, example, where)
        for step in each.steps:
            if isinstance(step, Prune):
                prune.refuse(prune.prepare(student, example), next(prune.amounts(step)), example)


def _export(model: nn.Module, dataset: Dataset) -> None:
    with TemporaryDirectory(prefix="trimtab-") as folder:
        export.export(model, Path(folder) / "model.onnx", dataset.train, task=dataset.task)
