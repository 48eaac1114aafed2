"""Builds what a recipe names before anything is trained, so that what does not fit is told at once."""

from optimization import export, models, students, transfer
from optimization.examples import Dataset
from optimization.quantization import qat
from optimization.recipe import Recipe


def rehearse(recipe: Recipe, dataset: Dataset) -> None:
    """Build the teacher and the student, and pair the states that are to be transferred between them.

    Raises:
        RecipeError: a model cannot be built, or lacks the states.
        DataError: a model does not fit the data.
    """
    if recipe.teacher.model is None:
        return
    teacher = student = models.build(recipe.teacher.model, dataset, recipe.seed)
    if recipe.distill is not None:
        student = students.build(recipe.distill.student, teacher, dataset, recipe.seed)
    example = export.example(dataset.train, 2)
    for where, teaching in recipe.teachings.items():
        pupil = qat.prepare(student) if where == "quantize.training" else student
        transfer.bond(teaching.transfer, pupil, teacher, example, where)
