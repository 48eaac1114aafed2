"""Runs a recipe: teacher, control and each step in order, then measures all of them and publishes the last.

recipe ─▶ train the teacher ─▶ distill │ prune │ sparsify │ quantize ─▶ measure ─▶ artifact.publish
"""

import copy
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from torch import nn

from optimization import (
    artifact,
    data,
    evaluate,
    examine,
    export,
    graph,
    models,
    onnx_teacher,
    page,
    prune,
    qat,
    quantize,
    scores,
    sensitivity,
    sparsify,
    students,
)
from optimization.artifact import Artifact, Measurement
from optimization.distill import SoftTargets, teacher_logits
from optimization.examples import Dataset
from optimization.findings import Findings
from optimization.mailbox import Job
from optimization.recipe import Distill, Prune, Quantize, Recipe, Sparsify, Step, Training
from optimization.report import Phases
from optimization.train import Workers

Score = Literal["taylor", "movement"] | None
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
    sensitivity: dict[str, float] = field(default_factory=dict)
    """Fraction of calibration examples that change class with one weight alone in INT8; empty where none was tried."""


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
    if recipe.teacher.onnx is not None:
        return _shrink_onnx(recipe, Path(recipe.teacher.onnx), dataset, folder, phases)
    assert recipe.teacher.model is not None, "the recipe was checked"
    teacher = models.build(recipe.teacher.model, dataset, recipe.seed)
    candidates: list[Candidate] = []
    is_sparse = False  # from then on zeros stay zero
    with ExitStack() as stack:
        with phases.phase(f"start {recipe.workers} workers"):
            workers = stack.enter_context(Workers(dataset.train, num_workers=recipe.workers, service=recipe.name))

        def train(
            step: str, model: nn.Module, training: Training, soft: SoftTargets | None = None, score: Score = None
        ) -> nn.Module:
            job = Job(
                step=step,
                model=model,
                training=training,
                seed=recipe.seed,
                soft=soft,
                score=score,
                holds_zeros=is_sparse,
            )
            with phases.phase(f"{step}: train", training.epochs) as advance:
                return workers.train(job, advance)

        def keep(step: str, model: nn.Module) -> None:
            with phases.phase(f"{step}: export"):
                candidates.append(_export(step, model, dataset, folder, recipe.seed))

        def learn(step: str, model: nn.Module, training: Training, score: Score = None) -> nn.Module:
            """Train on the teacher's outputs, after the first student's control without them."""
            if all(candidate.step != "control" for candidate in candidates):
                keep("control", train("control", copy.deepcopy(model), training))
            return train(step, model, training, soft, score)

        if recipe.teacher.training is not None:
            teacher = train("teacher", teacher, recipe.teacher.training)
        keep("teacher", teacher)
        with phases.phase("teacher: answer"):
            soft = SoftTargets(
                logits=teacher_logits(teacher, dataset.train), temperature=recipe.temperature, alpha=recipe.alpha
            )
        student = copy.deepcopy(teacher)
        for step in recipe.steps:
            match step:
                case Distill():
                    student = students.build(step.student, teacher, dataset, recipe.seed)
                    student = learn(step.kind, student, step.training)
                    keep(step.kind, student)
                case Prune():
                    rows = np.arange(min(_CHECK_SAMPLES, len(dataset.train)))
                    example = export.tensors(dataset.train.batch(rows))
                    student, saliency = prune.prepare(student, example), None
                    score = scores.of_gradients(step.score)
                    if score is not None:
                        student = train("score", student, step.recovery.model_copy(update={"epochs": 1}), soft, score)
                        saliency = workers.saliency()
                    for amount in prune.amounts(step):
                        student = prune.prune(student, amount, example, step.score, recipe.seed, saliency)
                        student = learn(step.kind, student, step.recovery, score)
                        saliency = workers.saliency()
                    keep(step.kind, student)
                case Sparsify():
                    is_sparse = True
                    for ratio in sparsify.ratios(step):
                        student = sparsify.sparsify(
                            student, threshold=step.threshold, ratio=ratio, pattern=step.pattern, scope=step.scope
                        )
                        if step.recovery is not None:
                            student = learn(step.kind, student, step.recovery)
                    keep(step.kind, student)
                case Quantize():
                    if step.training is not None:
                        student = qat.strip(learn("qat", qat.prepare(student), step.training))
                        keep("qat", student)
                    with phases.phase("quantize: calibrate"):
                        candidates.append(_quantize(step, candidates[-1], dataset, folder, recipe.seed))
    return candidates


def _shrink_onnx(recipe: Recipe, path: Path, dataset: Dataset, folder: Path, phases: Phases) -> list[Candidate]:
    """An ONNX file that came from elsewhere, as it is and after each step."""
    with phases.phase("teacher: check"):
        model = graph.read(path)
        onnx_teacher.check(path, model, dataset)
        candidates = [Candidate(step="teacher", path=path, num_parameters=graph.num_parameters(model))]
    for step in recipe.steps:
        assert isinstance(step, Quantize), "the recipe was checked"
        with phases.phase("quantize: calibrate"):
            candidates.append(_quantize(step, candidates[-1], dataset, folder, recipe.seed))
    return candidates


def _export(step: str, model: nn.Module, dataset: Dataset, folder: Path, seed: int) -> Candidate:
    path = folder / f"{step}.onnx"
    export.export(model, path, dataset.train, num_outputs=dataset.num_outputs)
    parity = export.parity(model, path, dataset.held_out, num_outputs=dataset.num_outputs, seed=seed)
    return Candidate(step=step, path=path, num_parameters=models.num_parameters(model), parity=parity)


def _quantize(step: Quantize, before: Candidate, dataset: Dataset, folder: Path, seed: int) -> Candidate:
    path = folder / "quantize.onnx"
    rows = np.random.default_rng(seed).permutation(len(dataset.train))[: step.calibration_samples]
    batches = [batch for _, batch in dataset.train.take(rows).batches(64)]
    if step.method == "fp16":
        quantize.halve(before.path, path)
        return Candidate(step=step.kind, path=path, num_parameters=before.num_parameters)
    method: quantize.Method = "dynamic" if step.method == "dynamic" else "static"
    prepared = quantize.prepare(before.path, folder, batches, method=method, ranges=step.ranges)
    outcome = sensitivity.within(prepared, path, batches, step.max_changed)
    costs = {cost.weight: cost.changed for cost in outcome.costs.values()}
    return Candidate(step=step.kind, path=path, num_parameters=before.num_parameters, sensitivity=costs)


def _faster_last(step: Step, candidates: list[Candidate], latencies: dict[str, dict[int, float]]) -> list[Candidate]:
    """The last one is served: put an INT8 model that is not faster than fp32 here before it, unless it is wanted so."""
    if not isinstance(step, Quantize) or step.publish == "always" or step.method == "fp16":
        return candidates
    *others, fp32, int8 = candidates
    is_faster = evaluate.speedup(latencies[fp32.step], latencies[int8.step]) > 1
    return candidates if is_faster else [*others, int8, fp32]


def _publish(recipe: Recipe, dataset: Dataset, candidates: list[Candidate], root: Path, phases: Phases) -> Artifact:
    held_out = dataset.held_out
    with phases.phase("measure"):
        latencies = evaluate.latencies({each.step: each.path for each in candidates}, held_out)
        candidates = _faster_last(recipe.steps[-1], candidates, latencies)
        predictions = [evaluate.predict(candidate.path, held_out) for candidate in candidates]
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
    is_quantized = final.step == "quantize"
    example = final.path.with_name(artifact.EXAMPLE)
    export.save_example(held_out.batch(np.arange(1)), example)
    with phases.phase("publish"):
        return artifact.publish(
            root,
            {artifact.MODEL: final.path, artifact.EXAMPLE: example, **dataset.files},
            {artifact.REPORT: page.render},
            name=recipe.name,
            recipe=recipe.model_dump(mode="json"),
            recipe_sha256=recipe.sha256,
            inputs=graph.inputs(served),
            outputs=graph.outputs(served),
            labels=dataset.labels,
            measurements=measurements,
            parity=next((each.parity for each in reversed(candidates) if each.parity is not None), None),
            agreement=evaluate.agreement(predictions[-1], predictions[-2]) if is_quantized else None,
            machine=evaluate.machine(),
            histograms=evaluate.histograms(held_out.inputs, predictions[-1]),
            preprocessing=dataset.preprocessing,
            libraries={name: version(name) for name in _LIBRARIES},
            findings=Findings(
                differences=examine.differences(classes, held_out.labels),
                confusion=examine.confusion(classes[final.step], held_out.labels, len(dataset.labels)),
                layers=examine.layers(served, final.sensitivity),
            ),
        )
