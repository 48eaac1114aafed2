"""Runs a recipe of text pairs, measures what was made and publishes the last.

teacher learns the pairs ─▶ writes its answers ─▶ student learns those, its control the pairs ─▶ INT8 ─▶ publish
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from optimization import artifact, models
from optimization.artifact import Artifact
from optimization.distillation.targets import SoftTargets
from optimization.examples import UNLABELLED, Split
from optimization.findings import Findings
from optimization.graphs import graph
from optimization.graphs.export import save_example
from optimization.manifest import Measurement, Stream
from optimization.measuring import evaluate, latency
from optimization.quantization import quantize, sensitivity
from optimization.readers import text
from optimization.report import examine, page
from optimization.report.terminal import Phases
from optimization.sequences import export, greedy, pairs, writing
from optimization.sequences import models as networks
from optimization.sequences.models import Seq2Seq
from optimization.sequences.pairs import Corpus
from optimization.sequences.recipe import SequenceDistill, SequenceQuantize, SequenceRecipe
from optimization.steps import Candidate
from optimization.training.journal import Journal
from optimization.training.mailbox import Job
from optimization.training.train import Workers, cluster

_LIBRARIES = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript", "sacrebleu", "ray", "numpy")


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where a recipe's models are made, and what was made there so far."""

    recipe: SequenceRecipe
    corpus: Corpus
    folder: Path
    phases: Phases
    journal: Journal | None
    candidates: list[Candidate] = field(default_factory=list)
    losses: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def train(self, workers: Workers, job: Job) -> None:
        """Train the job's model; what was trained before the run stopped is gone on from."""
        job = job if self.journal is None else self.journal.begin(job)
        losses: list[float] = []
        with self.phases.phase(f"{job.step}: train", job.training.epochs) as advance:
            workers.train(job, _heard(losses, advance))
        self.losses[job.step] = tuple(losses)

    def keep(self, step: str, model: Seq2Seq) -> None:
        """Export `model` as what the step left behind."""
        path = self.folder / f"{step}.onnx"
        with self.phases.phase(f"{step}: export"):
            export.export(model, path)
            parity = export.parity(model, path, self.corpus.held_out, self.recipe.seed)
        parameters = models.num_parameters(model)
        self.candidates.append(Candidate(step=step, path=path, num_parameters=parameters, parity=parity))


def run(recipe: SequenceRecipe, root: Path, phases: Phases, journal: Journal | None = None) -> Artifact:
    """Make what the recipe describes and publish it under `root`; the journal keeps checkpoints, to go on from.

    Raises:
        OptimizationError: a step failed its check, or training did not finish.
    """
    teacher = networks.build(recipe.teacher.model, recipe.seed)
    with cluster(recipe.num_cpus), TemporaryDirectory(prefix="trimtab-") as folder:
        with phases.phase("load data"):
            vocabulary = teacher.body.config.vocab_size
            corpus = pairs.load(recipe.data, networks.special(teacher), vocabulary, recipe.seed)
        desk = Desk(recipe=recipe, corpus=corpus, folder=Path(folder), phases=phases, journal=journal)
        distill = next((step for step in recipe.steps if isinstance(step, SequenceDistill)), None)
        if distill is not None:
            networks.student(distill.student, teacher, recipe.seed)  # what cannot be made is told before any training
        _learn_pairs(desk, teacher, distill)
        if distill is not None:
            _learn_answers(desk, teacher, distill)
        for step in recipe.steps:
            if isinstance(step, SequenceQuantize):
                _quantize(desk, step)
        published = _publish(desk, root)
    if journal is not None:
        journal.clear()
    return published


def _workers(recipe: SequenceRecipe, split: Split) -> Workers:
    return Workers(
        split,
        num_workers=recipe.workers,
        cpus_per_worker=recipe.cpus_per_worker,
        min_workers=recipe.min_workers,
        service=recipe.name,
    )


def _learn_pairs(desk: Desk, teacher: Seq2Seq, distill: SequenceDistill | None) -> None:
    """The teacher, and the control: the student's start and training, without the teacher."""
    recipe = desk.recipe
    with ExitStack() as stack:
        workers = _workers(recipe, desk.corpus.train)
        if recipe.teacher.training is not None or distill is not None:
            stack.enter_context(workers)
        if recipe.teacher.training is not None:
            training = recipe.teacher.training
            desk.train(workers, Job(step="teacher", model=teacher, training=training, seed=recipe.seed))
        desk.keep("teacher", teacher)
        if distill is not None:
            control = networks.student(distill.student, teacher, recipe.seed)
            desk.train(workers, Job(step="control", model=control, training=distill.training, seed=recipe.seed))
            desk.keep("control", control)


def _learn_answers(desk: Desk, teacher: Seq2Seq, step: SequenceDistill) -> None:
    """The student, of the same texts with what the teacher writes for them."""
    recipe, corpus = desk.recipe, desk.corpus
    with desk.phases.phase("teacher: write"):
        folder = None if desk.journal is None else desk.journal.answers
        answers = writing.once(
            teacher,
            corpus.train,
            folder,
            beams=step.beams,
            max_length=corpus.max_length,
            num_workers=recipe.workers,
        )
    taught = pairs.rewritten(corpus.train, answers, corpus.special)
    soft = SoftTargets(logits=None, temperature=step.temperature, alpha=step.alpha, teacher=teacher)
    student = networks.student(step.student, teacher, recipe.seed)
    with _workers(recipe, taught) as workers:
        job = Job(step="distill", model=student, training=step.training, seed=recipe.seed)
        desk.train(workers, replace(job, soft=soft) if step.alpha else job)
    desk.keep("distill", student)


def _quantize(desk: Desk, step: SequenceQuantize) -> None:
    """INT8 weights; what is compared with fp32 is the next word after a prefix of the target, of any length."""
    before, path, split = desk.candidates[-1], desk.folder / "quantize.onnx", desk.corpus.train
    random = np.random.default_rng(desk.recipe.seed)
    batches = []
    for row in random.permutation(len(split))[: step.calibration_samples]:
        batch = split.batch(np.array([row]))
        num_written = int(random.integers(0, int((split.labels[row] != UNLABELLED).sum())))
        batches.append({**batch, "written": batch["written"][:, :num_written]})
    with desk.phases.phase("quantize: calibrate"):
        prepared = quantize.prepare(before.path, desk.folder, batches, method="dynamic")
        outcome = sensitivity.within(prepared, path, batches, step.max_changed)
    costs = {cost.weight: cost.changed for cost in outcome.costs.values()}
    candidate = Candidate(step=step.kind, path=path, num_parameters=before.num_parameters, sensitivity=costs)
    desk.candidates.append(candidate)


def _publish(desk: Desk, root: Path) -> Artifact:
    recipe, corpus, candidates = desk.recipe, desk.corpus, desk.candidates
    with desk.phases.phase("measure"):
        timed = greedy.latencies({each.step: each.path for each in candidates}, corpus)
        last = recipe.steps[-1]
        if isinstance(last, SequenceQuantize) and last.publish == "faster":
            *others, fp32, int8 = candidates
            if latency.speedup(timed[fp32.step], timed[int8.step]) <= 1:
                candidates = [*others, int8, fp32]
        written = {each.step: greedy.texts(each.path, corpus) for each in candidates}
        exact = {step: greedy.is_exact(texts, corpus.references) for step, texts in written.items()}
        measurements = tuple(
            Measurement(
                step=each.step,
                quality=greedy.quality(exact[each.step]),
                num_parameters=each.num_parameters,
                size_bytes=each.path.stat().st_size,
                latency_s={size: taken.median_s for size, taken in timed[each.step].items()},
                latency_interval_s={size: taken.interval_s for size, taken in timed[each.step].items()},
            )
            for each in candidates
        )
    final = candidates[-1]
    served, example = graph.read(final.path), desk.folder / artifact.EXAMPLE
    save_example(corpus.held_out.batch(np.arange(1)), example)
    agreement = _agreement(written[final.step], written[candidates[-2].step]) if final.step == "quantize" else None
    with desk.phases.phase("publish"):
        return artifact.publish(
            root,
            {
                artifact.MODEL: final.path,
                artifact.EXAMPLE: example,
                text.FILE: text.save(corpus.tokenizer, desk.folder),
            },
            {artifact.REPORT: page.render},
            name=recipe.name,
            recipe=recipe.model_dump(mode="json"),
            recipe_sha256=recipe.sha256,
            inputs=graph.inputs(served),
            outputs=graph.outputs(served),
            measurements=measurements,
            parity=next(each.parity for each in reversed(candidates) if each.parity is not None),
            agreement=agreement,
            machine=evaluate.machine(),
            stream=Stream(
                carry={"sequence": "written"},
                emit=("token",),
                until={"token": corpus.special.end},
                max_steps=corpus.max_length,
            ),
            libraries={name: version(name) for name in _LIBRARIES},
            findings=Findings(
                losses=desk.losses,
                differences=examine.differences(exact, np.ones(len(corpus.held_out), np.int64)),
                speedups=examine.speedups({each.step: timed[each.step] for each in candidates}),
                layers=examine.layers(served, final.sensitivity),
                scores={step: greedy.scores(texts, corpus.references) for step, texts in written.items()},
            ),
        )


def _agreement(one: list[str], other: list[str]) -> float:
    return float(np.mean([first == second for first, second in zip(one, other, strict=True)]))


def _heard(losses: list[float], advance: Callable[[int, float], None]) -> Callable[[int, float], None]:
    def heard(num_epochs: int, loss: float) -> None:
        losses.append(loss)
        advance(num_epochs, loss)

    return heard
