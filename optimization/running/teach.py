"""Makes the teacher, and lets it answer the training data.

teach ─▶ TeacherAnswers (the teacher, its logits) ─▶ what a student learns of them
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.distillation import taps, transfer
from optimization.distillation.targets import SoftTargets
from optimization.foreign import convert, onnx_teacher
from optimization.graphs import export, graph
from optimization.networks import models
from optimization.readers.examples import Stream
from optimization.recipe.teaching import Teaching
from optimization.running.workspace import Candidate, Workspace
from optimization.training.job import Job

CHECK_SAMPLES = 256
"""Training examples that tell which layers are missed least, and that a pruned model equals its masked original."""


@dataclass(frozen=True, kw_only=True)
class TeacherAnswers:
    """What students learn from; empty where the teacher is an ONNX file, which is only quantized."""

    teacher: nn.Module | None = None
    logits: NDArray[np.float32] | None = None
    """The teacher's, of shape [samples, outputs], in the order of the training data; none where that changes."""
    pooled: NDArray[np.float32] | None = None
    """Its pooled states, of shape [samples, width], where students learn them and they are known."""
    stream: Stream | None = None
    """The training examples with the teacher's logits, where they are streamed."""


def teach(workspace: Workspace) -> TeacherAnswers:
    """Train the teacher, and let it answer the training data once for all students."""
    settings, dataset, seed = workspace.recipe.teacher, workspace.dataset, workspace.recipe.seed
    if settings.onnx is not None:
        with workspace.phases.phase("teacher: check"):
            path, parity = convert.onnx_file(Path(settings.onnx), workspace.folder, names=tuple(dataset.train.inputs))
            model = graph.read(path)
            output = onnx_teacher.check(path, model, dataset, settings.output)
        parameters = graph.num_parameters(model)
        workspace.candidates.append(
            Candidate(step="teacher", path=path, output=output, num_parameters=parameters, parity=parity)
        )
        return TeacherAnswers()
    assert settings.model is not None, "the recipe was checked"
    teacher = models.build(settings.model, dataset, seed)
    if settings.training is not None:
        job = Job(step="teacher", model=teacher, training=settings.training, seed=seed, task=dataset.task)
        teacher = workspace.train(replace(job, stream=dataset.stream, augmentation=dataset.augmentation))
    workspace.keep("teacher", teacher)
    if not workspace.recipe.has_students:
        return TeacherAnswers(teacher=teacher)
    with workspace.phases.phase("teacher: answer"):
        if dataset.augmentation is not None:
            return TeacherAnswers(teacher=teacher)  # it must see each picture as the student does
        asked = teacher
        is_pooled = any(each.kind == "pooled" for one in workspace.recipe.teachings.values() for each in one.transfer)
        if is_pooled and dataset.stream is None:
            pooled_at = taps.find("pooled", teacher, export.example(dataset.train, CHECK_SAMPLES))
            asked = transfer.TeacherWithStates(teacher, pooled_at)
        if dataset.stream is not None:
            return TeacherAnswers(teacher=teacher, stream=workspace.answer_stream(asked, dataset.stream))
        answer = workspace.trainer.answer(asked, workspace.recipe.precision_of_answers)
        if (choice := workspace.trainer.choice()) is not None:
            workspace.note_precision("answers", choice)
        logits, pooled = np.split(answer, [dataset.num_outputs], axis=-1)
        return TeacherAnswers(teacher=teacher, logits=logits, pooled=pooled if pooled.size else None)


def soft_targets(
    teacher_answers: TeacherAnswers, where: str, teaching: Teaching, student: nn.Module, example: tuple[Tensor, ...]
) -> SoftTargets:
    """What the student learns; the teacher itself goes along where not all of that is known of it."""
    assert teacher_answers.teacher is not None, "an ONNX file teaches nobody"
    state_pairs = transfer.pair_states(teaching.transfer, student, teacher_answers.teacher, example, where)
    only_pooled = [each.kind for each in teaching.transfer] == ["pooled"]
    is_known = not state_pairs and (teacher_answers.logits is not None or teacher_answers.stream is not None)
    is_known = is_known or (only_pooled and teacher_answers.pooled is not None)
    return SoftTargets(
        logits=teacher_answers.logits if is_known else None,
        pooled=teacher_answers.pooled if is_known and state_pairs else None,
        teacher=None if is_known else teacher_answers.teacher,
        temperature=teaching.temperature,
        alpha=teaching.alpha,
        soft_loss=teaching.soft_loss,
        state_pairs=state_pairs,
    )
