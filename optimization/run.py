"""Runs a recipe: teacher, control and each step in order, then measures all of them and publishes the last.

recipe ─▶ train the teacher ─▶ distill │ prune │ sparsify │ quantize ─▶ measure ─▶ artifact.publish
"""

from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from optimization import (
    artifact,
    data,
    evaluate,
    examine,
    export,
    graph,
    models,
    page,
    prune,
    quantize,
    sensitivity,
    sparsify,
)
from optimization.artifact import Artifact, Measurement
from optimization.data import Dataset
from optimization.distill import SoftTargets, teacher_logits
from optimization.findings import Findings
from optimization.mailbox import Job
from optimization.recipe import Distill, Prune, Quantize, Recipe, Sparsify, Training
from optimization.report import Phases
from optimization.train import Workers

_LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxscript", "torch-pruning", "ray", "numpy", "scikit-learn")
_CHECK_SAMPLES = 256
"""Training examples that a pruned model is compared with its masked original on."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What a step left behind."""

    step: str
    path: Path
    """Its ONNX file."""
    num_parameters: int
    parity: float | None = None
    """Largest difference from the torch model; none where there is no such torch model."""


def run(recipe: Recipe, root: Path, phases: Phases) -> Artifact:
    """Make what the recipe describes and publish it under `root`.

    Raises:
        OptimizationError: a step failed its check, or training did not finish.
    """
    with phases.phase("load data"):
        dataset = data.load(recipe.data, recipe.seed)
    with TemporaryDirectory(prefix="trimtab-") as folder:
        candidates = _make(recipe, dataset, Path(folder), phases)
        return _publish(recipe, dataset, candidates, root, phases)


def _make(recipe: Recipe, dataset: Dataset, folder: Path, phases: Phases) -> list[Candidate]:
    """Teacher, control and what each step left behind, in the order they were made."""
    candidates: list[Candidate] = []
    with ExitStack() as stack:
        with phases.phase(f"start {recipe.workers} workers"):
            workers = stack.enter_context(Workers(dataset.train, num_workers=recipe.workers, service=recipe.name))

        def train(step: str, model: nn.Module, training: Training, soft: SoftTargets | None = None) -> nn.Module:
            job = Job(step=step, model=model, training=training, seed=recipe.seed, soft=soft)
            with phases.phase(f"{step}: train", training.epochs) as advance:
                return workers.train(job, advance)

        def keep(step: str, model: nn.Module) -> None:
            with phases.phase(f"{step}: export"):
                candidates.append(_export(step, model, dataset, folder, recipe.seed))

        teacher = train("teacher", models.build(recipe.teacher.model, dataset, recipe.seed), recipe.teacher.training)
        keep("teacher", teacher)
        soft = SoftTargets(
            logits=teacher_logits(teacher, dataset.train.inputs),
            temperature=recipe.distill.temperature,
            alpha=recipe.distill.alpha,
        )
        student = teacher
        for step in recipe.steps:
            match step:
                case Distill():
                    control = models.build(step.student, dataset, recipe.seed)
                    keep("control", train("control", control, step.training))
                    student = models.build(step.student, dataset, recipe.seed)
                    student = train(step.kind, student, step.training, soft)
                    keep(step.kind, student)
                case Prune():
                    example = (torch.from_numpy(dataset.train.inputs[:_CHECK_SAMPLES]),)
                    student = prune.prepare(student, example)
                    for amount in prune.amounts(step):
                        student = prune.prune(student, amount, example, step.score, recipe.seed)
                        student = train(step.kind, student, step.recovery, soft)
                    keep(step.kind, student)
                case Sparsify():
                    student = sparsify.sparsify(
                        student, threshold=step.threshold, ratio=step.ratio, pattern=step.pattern, scope=step.scope
                    )
                    keep(step.kind, student)
                case Quantize():
                    with phases.phase("quantize: calibrate"):
                        candidates.append(_quantize(step, candidates[-1], dataset, folder, recipe.seed))
    return candidates


def _export(step: str, model: nn.Module, dataset: Dataset, folder: Path, seed: int) -> Candidate:
    path = folder / f"{step}.onnx"
    export.export(
        model,
        path,
        num_features=dataset.num_features,
        num_outputs=dataset.num_outputs,
        input_name=dataset.input_name,
    )
    parity = export.parity(model, path, dataset.held_out.inputs, num_outputs=dataset.num_outputs, seed=seed)
    return Candidate(step=step, path=path, num_parameters=models.num_parameters(model), parity=parity)


def _quantize(step: Quantize, before: Candidate, dataset: Dataset, folder: Path, seed: int) -> Candidate:
    path = folder / "quantize.onnx"
    num_samples = len(dataset.train.inputs)
    rows = np.random.default_rng(seed).permutation(num_samples)[: step.calibration_samples]
    batches = [{dataset.input_name: batch} for batch in np.array_split(dataset.train.inputs[rows], len(rows) // 64 + 1)]
    if step.method == "fp16":
        quantize.halve(before.path, path)
    else:
        prepared = quantize.prepare(before.path, folder, batches, method=step.method, ranges=step.ranges)
        sensitivity.within(prepared, path, batches, step.max_changed)
    return Candidate(step=step.kind, path=path, num_parameters=before.num_parameters)


def _publish(recipe: Recipe, dataset: Dataset, candidates: list[Candidate], root: Path, phases: Phases) -> Artifact:
    held_out = dataset.held_out
    with phases.phase("measure"):
        predictions = [evaluate.predict(candidate.path, held_out.inputs) for candidate in candidates]
        latencies = evaluate.latencies({each.step: each.path for each in candidates}, held_out.inputs)
        measurements = tuple(
            Measurement(
                step=candidate.step,
                quality=evaluate.accuracy(prediction, held_out.labels),
                num_parameters=candidate.num_parameters,
                sparsity=graph.sparsity(graph.read(candidate.path)),
                size_bytes=candidate.path.stat().st_size,
                latency_s=latencies[candidate.step],
            )
            for candidate, prediction in zip(candidates, predictions, strict=True)
        )
    final = candidates[-1]
    classes = {each.step: evaluate.classes(found) for each, found in zip(candidates, predictions, strict=True)}
    served = graph.read(final.path)
    is_quantized = final.parity is None
    example = final.path.with_name(artifact.EXAMPLE)
    export.save_example(held_out.inputs[0], example, input_name=dataset.input_name)
    with phases.phase("publish"):
        return artifact.publish(
            root,
            {artifact.MODEL: final.path, artifact.EXAMPLE: example},
            {artifact.REPORT: page.render},
            name=recipe.name,
            recipe=recipe.model_dump(mode="json"),
            recipe_sha256=recipe.sha256,
            inputs=graph.inputs(served),
            outputs=graph.outputs(served),
            labels=dataset.labels,
            measurements=measurements,
            parity=next(each.parity for each in reversed(candidates) if each.parity is not None),
            agreement=evaluate.agreement(predictions[-1], predictions[-2]) if is_quantized else None,
            machine=evaluate.machine(),
            histograms=evaluate.histograms(held_out.inputs, predictions[-1], dataset.input_name),
            libraries={name: version(name) for name in _LIBRARIES},
            findings=Findings(
                differences=examine.differences(classes, held_out.labels),
                confusion=examine.confusion(classes[final.step], held_out.labels, len(dataset.labels)),
                layers=examine.layers(served),
            ),
        )
