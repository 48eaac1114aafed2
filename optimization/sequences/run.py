"""Runs a recipe of text pairs, measures what was made and publishes the last.

teacher learns the pairs ─▶ writes its answers ─▶ student learns those, its control the pairs ─▶ INT8 ─▶ publish
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from optimization.artifact import store
from optimization.artifact.findings import Examples, Findings
from optimization.artifact.manifest import Measurement, Provenance
from optimization.artifact.store import Artifact
from optimization.distillation.targets import SoftTargets
from optimization.graphs import graph
from optimization.graphs.export import save_example
from optimization.identity import code, named
from optimization.measuring import evaluate, judging, latency, measures
from optimization.networks import models
from optimization.quantization import quantize, sensitivity
from optimization.readers import text
from optimization.readers.examples import Split
from optimization.report import examine, page
from optimization.report.phases import Phases
from optimization.running import verify
from optimization.running.verify import Measured
from optimization.running.workspace import Candidate
from optimization.sequences import export, greedy, pairs, writing
from optimization.sequences import models as networks
from optimization.sequences.models import Seq2Seq
from optimization.sequences.pairs import Corpus
from optimization.sequences.recipe import SequenceDistill, SequenceQuantize, SequenceRecipe
from optimization.tasks.task import UNLABELLED
from optimization.tasks.text_pairs import TextPairs
from optimization.training import identity
from optimization.training.checkpoint_store import CheckpointStore
from optimization.training.cluster import cluster
from optimization.training.job import Job
from optimization.training.reuse import Reusing
from optimization.training.train import Workers
from optimization.training.trainer import Trainer

_TASK = TextPairs()
_MEASURE = measures.named("exact_match")
_LIBRARIES = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript", "sacrebleu", "ray", "numpy")


@dataclass(frozen=True, kw_only=True)
class SequenceWorkspace:
    """Where a recipe's models are made, and what was made there so far."""

    recipe: SequenceRecipe
    corpus: Corpus
    named: Mapping[str, str]
    """Digests of what the recipe names, as it was before the data were read."""
    folder: Path
    phases: Phases
    checkpoints: CheckpointStore | None
    candidates: list[Candidate] = field(default_factory=list)
    losses: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def train(self, trainer: Trainer, job: Job) -> None:
        """Train the job's model, and note its losses."""
        losses: list[float] = []
        with self.phases.phase(f"{job.step}: train", job.training.epochs) as advance:
            trainer.train(job, _heard(losses, advance))
        self.losses[job.step] = tuple(losses)

    def keep(self, step: str, model: Seq2Seq) -> None:
        """Export `model` as what the step left behind."""
        path = self.folder / f"{step}.onnx"
        with self.phases.phase(f"{step}: export"):
            export.export(model, path)
            parity = export.parity(model, path, self.corpus.validation, self.recipe.seed)
        parameters = models.num_parameters(model)
        self.candidates.append(
            Candidate(step=step, path=path, output=_TASK.output, num_parameters=parameters, parity=parity)
        )


def run(recipe: SequenceRecipe, root: Path, phases: Phases, checkpoints: CheckpointStore | None = None) -> Artifact:
    """Make what the recipe describes and publish it under `root`; what `checkpoints` has of it is not done again.

    Raises:
        OptimizationError: a step failed its check, or training did not finish.
    """
    found = named.digests(recipe)
    teacher = networks.build(recipe.teacher.model, recipe.seed)
    with cluster(recipe.num_cpus), TemporaryDirectory(prefix="trimtab-") as folder:
        with phases.phase("load data"):
            vocabulary = teacher.body.config.vocab_size
            corpus = pairs.load(recipe.data, networks.special(teacher), vocabulary, recipe.seed)
        workspace = SequenceWorkspace(
            recipe=recipe, corpus=corpus, named=found, folder=Path(folder), phases=phases, checkpoints=checkpoints
        )
        distill = next((step for step in recipe.steps if isinstance(step, SequenceDistill)), None)
        if distill is not None:
            networks.student(distill.student, teacher, recipe.seed)  # what cannot be made is told before any training
        _learn_pairs(workspace, teacher, distill)
        if distill is not None:
            _learn_answers(workspace, teacher, distill)
        return finish(workspace, root)


def finish(workspace: SequenceWorkspace, root: Path) -> Artifact:
    """Quantize what was taught where the recipe says so, decide, measure and publish.

    Raises:
        GraphError: no node may go to INT8.
        VerifyError: loaded anew from disk, it does not write what was measured.
    """
    for step in workspace.recipe.steps:
        if isinstance(step, SequenceQuantize):
            _quantize(workspace, step)
    return _publish(workspace, _faster_last(workspace), root)


@contextmanager
def _trainer(workspace: SequenceWorkspace, split: Split) -> Iterator[Trainer]:
    """Workers that start with the first training which is not known already."""
    recipe = workspace.recipe
    workers = Workers(
        split,
        num_workers=recipe.workers,
        cpus_per_worker=recipe.cpus_per_worker,
        min_workers=recipe.min_workers,
        service=recipe.name,
    )
    with workers:
        if workspace.checkpoints is None:
            yield workers
        else:
            yield Reusing(workers, split, workspace.checkpoints, {"workers": recipe.workers})


def _learn_pairs(workspace: SequenceWorkspace, teacher: Seq2Seq, distill: SequenceDistill | None) -> None:
    """The teacher, and the control: the student's start and training, without the teacher."""
    recipe = workspace.recipe
    with _trainer(workspace, workspace.corpus.train) as trainer:
        if recipe.teacher.training is not None:
            training = recipe.teacher.training
            workspace.train(
                trainer, Job(step="teacher", model=teacher, training=training, seed=recipe.seed, task=_TASK)
            )
        workspace.keep("teacher", teacher)
        if distill is not None:
            control = networks.student(distill.student, teacher, recipe.seed)
            workspace.train(
                trainer, Job(step="control", model=control, training=distill.training, seed=recipe.seed, task=_TASK)
            )
            workspace.keep("control", control)


def _learn_answers(workspace: SequenceWorkspace, teacher: Seq2Seq, step: SequenceDistill) -> None:
    """The student, of the same texts with what the teacher writes for them."""
    recipe, corpus = workspace.recipe, workspace.corpus
    with workspace.phases.phase("teacher: write"):
        answers = writing.once(
            teacher,
            corpus.train,
            workspace.checkpoints,
            beams=step.beams,
            max_length=corpus.max_length,
            num_workers=recipe.workers,
        )
    taught = pairs.rewritten(corpus.train, answers, corpus.special)
    soft = SoftTargets(logits=None, temperature=step.temperature, alpha=step.alpha, teacher=teacher)
    student = networks.student(step.student, teacher, recipe.seed)
    with _trainer(workspace, taught) as trainer:
        job = Job(step="distill", model=student, training=step.training, seed=recipe.seed, task=_TASK)
        workspace.train(trainer, replace(job, soft=soft) if step.alpha else job)
    workspace.keep("distill", student)


def _quantize(workspace: SequenceWorkspace, step: SequenceQuantize) -> None:
    """INT8 weights; what is compared with fp32 is the next word after a prefix of the target, of any length."""
    before, path, split = workspace.candidates[-1], workspace.folder / "quantize.onnx", workspace.corpus.validation
    random = np.random.default_rng(workspace.recipe.seed)
    batches = []
    for row in random.permutation(len(split))[: step.calibration_samples]:
        batch = split.batch(np.array([row]))
        num_written = int(random.integers(0, int((split.labels[row] != UNLABELLED).sum())))
        batches.append({**batch, "written": batch["written"][:, :num_written]})
    with workspace.phases.phase("quantize: calibrate"):
        prepared = quantize.prepare(before.path, workspace.folder, batches, method="dynamic")
        outcome = sensitivity.within(prepared, path, batches, step.max_changed, task=_TASK, output=before.output)
    costs = {cost.weight: cost.changed for cost in outcome.costs.values()}
    workspace.candidates.append(
        replace(before, step=step.kind, path=path, precision="INT8", parity=None, sensitivity=costs)
    )


def _faster_last(workspace: SequenceWorkspace) -> list[Candidate]:
    """The last one is served: put an INT8 model that is not faster than fp32 here before it, unless it is wanted so."""
    candidates, last = workspace.candidates, workspace.recipe.steps[-1]
    if not isinstance(last, SequenceQuantize) or last.publish == "always":
        return candidates
    *others, fp32, int8 = candidates
    with workspace.phases.phase("compare INT8 with fp32"):
        corpus = workspace.corpus
        timed = greedy.latencies({each.step: each.path for each in (fp32, int8)}, corpus.validation, corpus)
    return candidates if latency.speedup(timed[fp32.step], timed[int8.step]) > 1 else [*others, int8, fp32]


def _publish(workspace: SequenceWorkspace, candidates: Sequence[Candidate], root: Path) -> Artifact:
    recipe, corpus = workspace.recipe, workspace.corpus
    final, references = candidates[-1], np.array(corpus.references)
    with workspace.phases.phase("measure"):
        timed = greedy.latencies({each.step: each.path for each in candidates}, corpus.held_out, corpus)
        words = {each.step: greedy.words(each.path, corpus) for each in candidates}
        written = {step: greedy.texts(each, corpus) for step, each in words.items()}
        digest = store.sha256(final.path)
        exact = {
            step: judging.right(_MEASURE, _TASK.right(np.array(texts), references)) for step, texts in written.items()
        }
        measurements = tuple(
            Measurement(
                step=each.step,
                precision=each.precision,
                quality=exact[each.step].quality(),
                num_parameters=each.num_parameters,
                size_bytes=each.path.stat().st_size,
                latency_s={size: taken.median_s for size, taken in timed[each.step].items()},
                latency_interval_s={size: taken.interval_s for size, taken in timed[each.step].items()},
            )
            for each in candidates
        )
    measured = Measured(
        model_sha256=digest,
        outputs=words[final.step],
        read=lambda found: found.reshape(len(found), -1),
        right=lambda found: _TASK.right(np.array(greedy.texts(found, corpus)), references),
        at_once=greedy.AT_ONCE,
    )
    served, example = graph.read(final.path), workspace.folder / store.EXAMPLE
    save_example(corpus.held_out.batch(np.arange(1)), example)
    agreement = _agreement(written[final.step], written[candidates[-2].step]) if final.step == "quantize" else None
    with workspace.phases.phase("publish"):
        return store.publish(
            root,
            {
                store.MODEL: final.path,
                store.EXAMPLE: example,
                text.FILE: text.save(corpus.tokenizer, workspace.folder),
            },
            {store.REPORT: page.render},
            check=partial(verify.verify, held_out=corpus.held_out, measured=measured),
            name=recipe.name,
            recipe=recipe.model_dump(mode="json"),
            recipe_sha256=recipe.sha256,
            provenance=Provenance(
                named=dict(workspace.named),
                held_out_sha256=identity.of_split(corpus.held_out),
                code_sha256=code.own(),
            ),
            inputs=graph.inputs(served),
            outputs=graph.outputs(served, final.output, "values", "values"),
            task=_TASK.kind,
            measurements=measurements,
            parity=next(each.parity for each in reversed(candidates) if each.parity is not None),
            agreement=agreement,
            machine=evaluate.machine(),
            stream=greedy.stream(corpus.special.end, corpus.max_length),
            libraries={name: version(name) for name in _LIBRARIES},
            findings=Findings(
                examples=Examples(
                    num_train=len(corpus.train),
                    num_validation=len(corpus.validation),
                    num_held_out=len(corpus.held_out),
                ),
                losses=workspace.losses,
                differences=examine.differences(exact),
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
