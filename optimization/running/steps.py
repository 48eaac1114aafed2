"""Makes a teacher, and of it what each step of a recipe leaves behind; knows nothing of where training happens.

teach ─▶ TeacherAnswers (the teacher, its logits) ─▶ shrink: distill │ prune │ sparsify │ quantize ─▶ a Candidate each
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.findings import Control, KernelChoice, PrecisionChoice
from optimization.artifact.manifest import Meaning
from optimization.distillation import students, taps, targets, transfer
from optimization.distillation.targets import SoftTargets
from optimization.foreign import convert, onnx_teacher
from optimization.graphs import export, graph
from optimization.networks import models
from optimization.pruning import costs, depth, prune, scores, sparsify
from optimization.quantization import kernels, qat, quantize, sensitivity
from optimization.readers import holding, streaming
from optimization.readers.examples import Dataset, Split, Stream
from optimization.recipe.methods import Distill, Prune, Quantize, Sparsify, Step, Training
from optimization.recipe.recipe import Recipe
from optimization.recipe.teaching import Teaching
from optimization.report import terminal
from optimization.report.board import Board
from optimization.report.phases import Phases
from optimization.tasks.task import LabelledTask
from optimization.training import batches, identity
from optimization.training.checkpoint_store import CheckpointStore
from optimization.training.job import Job
from optimization.training.trainer import Trainer

_AT_ONCE = 256
_CHECK_SAMPLES = 256
"""Training examples that tell which layers are missed least, and that a pruned model equals its masked original."""

Score = Literal["taylor", "movement"] | None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What a step left behind."""

    step: str
    path: Path
    """Its ONNX file."""
    output: Meaning
    """What the file's first output is."""
    num_parameters: int
    precision: Literal["FP32", "INT8", "FP16"] = "FP32"
    """Numbers that its weights are kept in."""
    parity: float | None = None
    """Largest difference from the model it was exported from; none where there is no such model."""
    sensitivity: dict[str, float] = field(default_factory=dict)
    """Fraction of validation examples that change answer with one weight alone in INT8; empty where none was tried."""


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


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where a recipe's models are made, and what was made there so far."""

    recipe: Recipe
    dataset: Dataset
    folder: Path
    """Takes the ONNX files."""
    trainer: Trainer
    phases: Phases
    board: Board | None = None
    """Takes the losses as they come."""
    checkpoints: CheckpointStore | None = None
    """Keeps what is measured on the way; none where nothing is kept."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Digests of what the recipe names, as it was before the data were read."""
    with_control: bool = True
    """Whether the control is trained as well, right before the first student."""
    candidates: list[Candidate] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    """How the control was trained; at most one."""
    num_steps: dict[str, int] = field(default_factory=dict)
    """Optimizer steps, by step of the recipe."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the results should know of the training."""
    losses: dict[str, list[float]] = field(default_factory=dict)
    """Mean training loss of each epoch, by step."""
    kernels: list[KernelChoice] = field(default_factory=list)
    """How weights are held in INT8; at most one."""
    precisions: dict[str, PrecisionChoice] = field(default_factory=dict)
    """What was chosen by measurement, by step."""
    choices: dict[str, PrecisionChoice] = field(default_factory=dict)
    """The same by the model and the batch that it was measured with."""

    def train(self, job: Job) -> nn.Module:
        """Train the job's model, and note its losses and its precision."""
        kind = f"{job.model!r} {job.training.batch_size}"
        job = replace(job, choice=self.choices.get(kind))
        losses = self.losses.setdefault(job.step, [])
        num = batches.num_steps(job, self.dataset.train)
        self.num_steps[job.step] = self.num_steps.get(job.step, 0) + num
        with self.phases.phase(f"{job.step}: train", job.training.epochs) as advance:

            def heard(num_epochs: int, loss: float) -> None:
                losses.append(loss)
                if self.board is not None:
                    self.board.loss(job.step, len(losses), loss)
                advance(num_epochs, loss)

            trained = self.trainer.train(job, heard)
        choice = self.trainer.choice()
        if choice is not None:
            self.choices[kind] = choice
            self.note_precision(job.step, choice)
        return trained

    def note_precision(self, step: str, choice: PrecisionChoice) -> None:
        """Keep what was chosen for a step, and say so."""
        self.precisions[step] = choice
        self.phases.say(f"{step}: {terminal.precision(choice)}")

    def keep(self, step: str, model: nn.Module) -> None:
        """Export `model` as what the step left behind."""
        path, data = self.folder / f"{step}.onnx", self.dataset
        with self.phases.phase(f"{step}: export"):
            export.export(model, path, data.train, task=data.task)
            parity = export.parity(model, path, data.validation, task=data.task, seed=self.recipe.seed)
        output, parameters = data.task.output, models.num_parameters(model)
        self.candidates.append(Candidate(step=step, path=path, output=output, num_parameters=parameters, parity=parity))


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
            pooled_at = taps.find("pooled", teacher, export.example(dataset.train, _CHECK_SAMPLES))
            asked = transfer.TeacherWithStates(teacher, pooled_at)
        wanted = workspace.recipe.precision_of_answers
        if dataset.stream is not None:
            choice = targets.faster(asked, dataset.train) if wanted == "auto" else None
            asked = targets.in_precision(asked, wanted, choice)
            stream = streaming.answered(dataset.stream, dataset.train, asked, workspace.recipe.workers)
            return TeacherAnswers(teacher=teacher, stream=stream)
        answer = workspace.trainer.answer(asked, wanted)
        if (choice := workspace.trainer.choice()) is not None:
            workspace.note_precision("answers", choice)
        logits, pooled = np.split(answer, [dataset.num_outputs], axis=1)
        return TeacherAnswers(teacher=teacher, logits=logits, pooled=pooled if pooled.size else None)


def shrink(workspace: Workspace, teacher_answers: TeacherAnswers) -> None:
    """Follow the recipe's steps; the last candidate is what they come to.

    Right before the first step that learns from the teacher, the control takes that step too.
    """
    if teacher_answers.teacher is None:
        for step in workspace.recipe.steps:
            assert isinstance(step, Quantize), "the recipe was checked: an ONNX file is only quantized"
            _quantize(workspace, step)
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
            _quantize(workspace, step)
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
        sample = holding.sample(workspace.dataset.train, _CHECK_SAMPLES, workspace.recipe.seed)
        self._workspace = workspace
        self._answers = teacher_answers
        self._example = export.example(sample, _CHECK_SAMPLES)
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
                    self._layer_costs = _layer_costs(self._workspace, step, student, example)
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


def _rounding(step: Quantize) -> quantize.Method | None:
    """How ONNX Runtime rounds to 8 bits; training that rounds ends in static ranges too, FP16 needs none."""
    if step.method == "fp16":
        return None
    return "dynamic" if step.method == "dynamic" else "static"


def _layer_costs(workspace: Workspace, step: Prune, model: nn.Module, example: tuple[Tensor, ...]) -> dict[str, float]:
    """What a layer of each stack costs, where the stacks compete."""
    if not step.layers or step.scope != "global":
        return {}
    removable = depth.removable(model, example)
    if len(removable) < 2:
        return {}
    data, last = workspace.dataset, workspace.recipe.steps[-1]

    method = _rounding(last) if isinstance(last, Quantize) else None

    def measure() -> dict[str, float]:
        return costs.of_layers(model, removable, data.train, task=data.task, method=method, folder=workspace.folder)

    with workspace.phases.phase("prune: time layers"):
        if workspace.checkpoints is None:
            return measure()
        parts = {"model": identity.of_model(model, data.train), "method": method, **identity.environment()}
        return workspace.checkpoints.once("costs", parts, measure)


def accuracy(model: nn.Module, split: Split, task: LabelledTask) -> float:
    """Fraction of right answers of a model that gives logits, and goes on being trained afterwards."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    num_right = 0
    with torch.inference_mode():
        for rows, batch in split.batches(_AT_ONCE):
            logits = model(*(values.to(device) for values in export.tensors(batch))).cpu().numpy()
            answers = task.answers(task.read(logits, "logits"))
            num_right += int(task.right(answers, split.labels[rows]).sum())
    model.train(was_training)
    return num_right / len(split)


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


def _quantize(workspace: Workspace, step: Quantize) -> None:
    """Put the last candidate in 8 bits: training examples set the ranges, others tell what must stay in fp32."""
    before, path, data = workspace.candidates[-1], workspace.folder / "quantize.onnx", workspace.dataset
    ranging, deciding = (
        [batch for _, batch in holding.sample(split, step.calibration_samples, workspace.recipe.seed).batches(64)]
        for split in (data.train, data.validation)
    )
    costs: dict[str, float] = {}
    with workspace.phases.phase("quantize: calibrate"):
        method = _rounding(step)
        if method is None:
            quantize.halve(before.path, path)
        else:
            prepared = quantize.prepare(before.path, workspace.folder, ranging, method=method, ranges=step.ranges)
            if step.training is None:  # else it has learned to bear what this processor names
                prepared, choice = kernels.choose(prepared, workspace.folder, deciding)
                workspace.kernels.append(choice)
            outcome = sensitivity.within(
                prepared, path, deciding, step.max_changed, task=data.task, output=before.output
            )
            costs = {cost.weight: cost.changed for cost in outcome.costs.values()}
    precision: Literal["FP16", "INT8"] = "FP16" if step.method == "fp16" else "INT8"
    workspace.candidates.append(
        replace(before, step=step.kind, path=path, precision=precision, parity=None, sensitivity=costs)
    )
