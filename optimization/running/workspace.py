"""Where a recipe's models are made: what was trained there, and what each step left behind."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from optimization.artifact.findings import Control, KernelChoice, PrecisionChoice
from optimization.artifact.manifest import Meaning
from optimization.distillation import targets
from optimization.graphs import export
from optimization.networks import models
from optimization.pruning import costs, depth
from optimization.quantization import kernels, quantize, sensitivity
from optimization.readers import holding, streaming
from optimization.readers.examples import Dataset, Stream
from optimization.recipe.methods import Prune, Quantize
from optimization.recipe.recipe import Recipe
from optimization.report import terminal
from optimization.report.board import Board
from optimization.report.phases import Phases
from optimization.training import batches, identity
from optimization.training.checkpoint_store import CheckpointStore
from optimization.training.job import Job
from optimization.training.trainer import Trainer


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

    def quantize(self, step: Quantize) -> None:
        """Put the last candidate in 8 bits: training examples set the ranges, others tell what must stay in fp32."""
        before, path, data = self.candidates[-1], self.folder / "quantize.onnx", self.dataset
        ranging, deciding = (
            [batch for _, batch in holding.sample(split, step.calibration_samples, self.recipe.seed).batches(64)]
            for split in (data.train, data.validation)
        )
        costs_by_weight: dict[str, float] = {}
        with self.phases.phase("quantize: calibrate"):
            method = _rounding(step)
            if method is None:
                quantize.halve(before.path, path)
            else:
                prepared = quantize.prepare(before.path, self.folder, ranging, method=method, ranges=step.ranges)
                if step.training is None:  # else it has learned to bear what this processor names
                    prepared, choice = kernels.choose(prepared, self.folder, deciding)
                    self.kernels.append(choice)
                outcome = sensitivity.within(
                    prepared, path, deciding, step.max_changed, task=data.task, output=before.output
                )
                costs_by_weight = {cost.weight: cost.changed for cost in outcome.costs.values()}
        precision: Literal["FP16", "INT8"] = "FP16" if step.method == "fp16" else "INT8"
        self.candidates.append(
            replace(before, step=step.kind, path=path, precision=precision, parity=None, sensitivity=costs_by_weight)
        )

    def time_layers(self, step: Prune, model: nn.Module, example: tuple[Tensor, ...]) -> dict[str, float]:
        """What a layer of each stack costs, where the stacks compete."""
        removable = depth.competing(step, model, example)
        if not removable:
            return {}
        data, last = self.dataset, self.recipe.steps[-1]
        method = _rounding(last) if isinstance(last, Quantize) else None

        def measure() -> dict[str, float]:
            return costs.of_layers(model, removable, data.train, task=data.task, method=method, folder=self.folder)

        with self.phases.phase("prune: time layers"):
            if self.checkpoints is None:
                return measure()
            parts = {"model": identity.of_model(model, data.train), "method": method, **identity.environment()}
            return self.checkpoints.once("costs", parts, measure)

    def answer_stream(self, asked: nn.Module, stream: Stream) -> Stream:
        """The streamed examples with the teacher's logits."""
        wanted = self.recipe.precision_of_answers
        choice = targets.faster(asked, self.dataset.train) if wanted == "auto" else None
        answering = targets.in_precision(asked, wanted, choice)
        return streaming.answered(stream, self.dataset.train, answering, self.recipe.workers)


def _rounding(step: Quantize) -> quantize.Method | None:
    """How ONNX Runtime rounds to 8 bits; training that rounds ends in static ranges too, FP16 needs none."""
    if step.method == "fp16":
        return None
    return "dynamic" if step.method == "dynamic" else "static"
