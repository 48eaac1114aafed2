"""Makes of a teacher what each step of a recipe leaves behind; knows nothing of where training happens.

TeacherAnswers ─▶ distill │ prune │ sparsify │ quantize ─▶ a Candidate each
"""

import copy
from typing import Literal

from torch import nn

from optimization.artifact.findings import Control
from optimization.distillation import students
from optimization.graphs import export
from optimization.pruning import prune, scores, sparsify
from optimization.quantization import qat
from optimization.readers import holding
from optimization.recipe.methods import Distill, Prune, Quantize, Sparsify, Step, Training
from optimization.running.teach import CHECK_SAMPLES, TeacherAnswers, soft_targets
from optimization.running.workspace import Workspace
from optimization.training.job import Job

Score = Literal["taylor", "movement"] | None


def shrink(workspace: Workspace, teacher_answers: TeacherAnswers) -> None:
    """Follow the recipe's steps; the last candidate is what they come to.

    Right before the first step that learns from the teacher, the control takes that step too.
    """
    if teacher_answers.teacher is None:
        for step in workspace.recipe.steps:
            assert isinstance(step, Quantize), "the recipe was checked: an ONNX file is only quantized"
            workspace.quantize(step)
        return
    course, student = _Course(workspace, teacher_answers), copy.deepcopy(teacher_answers.teacher)
    has_control = not workspace.with_control
    for step in workspace.recipe.steps:
        if not has_control and _learns(step):
            course.control(step, student)
            has_control = True
        student = course.take(step, student)
        if isinstance(step, Quantize):
            if step.training is not None:
                workspace.keep("qat", student)
            workspace.quantize(step)
        else:
            workspace.keep(step.kind, student)


def control(workspace: Workspace, teacher_answers: TeacherAnswers) -> None:
    """Make the control alone, if a step of the recipe learns from the teacher."""
    assert teacher_answers.teacher is not None, "an ONNX file teaches nobody"
    course, student = _Course(workspace, teacher_answers), copy.deepcopy(teacher_answers.teacher)
    for step in workspace.recipe.steps:
        if _learns(step):
            course.control(step, student)
            return
        student = course.take(step, student)


class _Course:
    """Takes a recipe's steps: with the teacher, or as a control with the labels alone."""

    def __init__(self, workspace: Workspace, teacher_answers: TeacherAnswers) -> None:
        sample = holding.sample(workspace.dataset.train, CHECK_SAMPLES, workspace.recipe.seed)
        self._workspace = workspace
        self._answers = teacher_answers
        self._example = export.example(sample, CHECK_SAMPLES)
        self._layer_costs: dict[str, float] | None = None
        self._is_sparse = False  # from then on zeros stay zero
        self._is_control = False

    def control(self, step: Step, student: nn.Module) -> None:
        """Take the step without the teacher: the same start, examples and number of optimizer steps, and labels alone.

        Of several stages it takes all, and makes its own cuts. In the place of examples without a label come others
        again.
        """
        workspace = self._workspace
        self._is_control = True
        workspace.keep("control", self.take(step, copy.deepcopy(student)))
        self._is_control = False
        train = workspace.dataset.train
        workspace.controls.append(
            Control(
                step=step.kind,
                num_steps=workspace.num_steps["control"],
                num_repeated=len(train) - len(train.labelled_rows()),
            )
        )

    def take(self, step: Step, student: nn.Module) -> nn.Module:
        """What the step makes of the student."""
        teacher, recipe, example = self._answers.teacher, self._workspace.recipe, self._example
        assert teacher is not None, "an ONNX file teaches nobody"
        match step:
            case Distill():
                student = students.build(step.student, teacher, self._workspace.dataset, recipe.seed)
                return self._learn(step.kind, "distill", student, step.training)
            case Prune():
                student, saliency = prune.prepare(student, example), None
                score = scores.of_gradients(step.score)
                if score is not None:
                    once = step.recovery.model_copy(update={"epochs": 1})
                    student = self._learn("score", "prune.recovery", student, once, score)
                    saliency = self._workspace.trainer.saliency()
                if self._layer_costs is None:  # time measured anew would differ, and student and control with it
                    self._layer_costs = self._workspace.time_layers(step, student, example)
                for stage, amount in enumerate(prune.amounts(step), start=1):
                    student = prune.prune(
                        student, amount, example, step.score, recipe.seed, saliency, self._layer_costs
                    )
                    student = self._learn(step.kind, "prune.recovery", student, step.recovery, score, stage=stage)
                    saliency = self._workspace.trainer.saliency()
            case Sparsify():
                self._is_sparse = True
                for stage, ratio in enumerate(sparsify.ratios(step), start=1):
                    student = sparsify.sparsify(
                        student, threshold=step.threshold, ratio=ratio, pattern=step.pattern, scope=step.scope
                    )
                    if step.recovery is not None:
                        student = self._learn(step.kind, "sparsify.recovery", student, step.recovery, stage=stage)
            case Quantize(training=Training() as training):
                return qat.strip(self._learn("qat", "quantize.training", qat.prepare(student), training))
        return student

    def _learn(
        self, step: str, where: str, model: nn.Module, training: Training, score: Score = None, *, stage: int = 1
    ) -> nn.Module:
        data, recipe = self._workspace.dataset, self._workspace.recipe
        soft = None
        if not self._is_control:
            soft = soft_targets(self._answers, where, recipe.teachings[where], model, self._example)
        return self._workspace.train(
            Job(
                step="control" if self._is_control else step,
                model=model,
                training=training,
                seed=recipe.seed,
                first_epoch=(stage - 1) * training.epochs,
                task=data.task,
                soft=soft,
                repeats_labelled=self._is_control,
                score=score,
                holds_zeros=self._is_sparse,
                stream=self._answers.stream or data.stream,
                augmentation=data.augmentation,
            )
        )


def _learns(step: Step) -> bool:
    """Whether the teacher teaches in it."""
    return (
        not isinstance(step, Sparsify | Quantize)
        or (step.recovery if isinstance(step, Sparsify) else step.training) is not None
    )
