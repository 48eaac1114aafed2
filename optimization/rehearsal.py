"""Builds what a recipe names before anything is trained, so that what does not fit is told at once."""

from collections.abc import Iterable

from optimization import models
from optimization.distillation import students, transfer
from optimization.examples import Dataset
from optimization.graphs import export
from optimization.quantization import qat
from optimization.recipe import Recipe


def rehearse(recipe: Recipe, dataset: Dataset, variants: Iterable[Recipe] = ()) -> None:
    """Build the teacher and the student, and pair the states that are to be transferred between them.

    The `variants` of a search share the recipe's teacher, and take the place of its steps.

    Raises:
        RecipeError: a model cannot be built, or lacks the states.
        DataError: a model does not fit the data.
    """
    if recipe.teacher.model is None:
        return
    teacher = models.build(recipe.teacher.model, dataset, recipe.seed)
    example = export.example(dataset.train, 2)
    for each in tuple(variants) or (recipe,):
        student = teacher
        if each.distill is not None:
            student = students.build(each.distill.student, teacher, dataset, each.seed)
        for where, teaching in each.teachings.items():
            pupil = qat.prepare(student) if where == "quantize.training" else student
            transfer.bond(teaching.transfer, pupil, teacher, example, where)
