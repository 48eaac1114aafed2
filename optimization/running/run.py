"""Runs a recipe: teacher, control and each step in order, then measures all of them and publishes the last.

recipe ─▶ train the teacher ─▶ distill │ prune │ sparsify │ quantize ─▶ measure ─▶ store.publish
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from optimization.artifact import store
from optimization.artifact.findings import Examples, Findings, SearchResult
from optimization.artifact.manifest import Measurement, Provenance
from optimization.artifact.reference.reference import Fidelity
from optimization.artifact.store import Artifact
from optimization.errors import RecipeError
from optimization.graphs import export, graph
from optimization.identity import code, named
from optimization.measuring import evaluate, judging, latency, measures
from optimization.networks import own_head
from optimization.readers import data
from optimization.readers.examples import Dataset, Split
from optimization.recipe import sources
from optimization.recipe.methods import Quantize, Step
from optimization.recipe.recipe import Recipe, Teacher
from optimization.report import examine, page
from optimization.report.board import Board
from optimization.report.phases import Phases
from optimization.running import plan, verify
from optimization.running.rehearsal import rehearse
from optimization.running.shrink import shrink
from optimization.running.teach import teach
from optimization.running.verify import Measured
from optimization.running.workspace import Candidate, Workspace
from optimization.search import budget
from optimization.search.space import Variant
from optimization.training import identity, reuse
from optimization.training.checkpoint_store import CheckpointStore
from optimization.training.cluster import cluster
from optimization.training.reuse import Reusing
from optimization.training.train import Workers
from optimization.training.trainer import Trainer

LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxscript", "torch-pruning", "ray", "numpy", "scikit-learn")


def run(recipe: Recipe, root: Path, phases: Phases, checkpoints: CheckpointStore | None = None) -> Artifact:
    """Make what the recipe describes and publish it under `root`; what `checkpoints` has of it is not done again.

    Raises:
        OptimizationError: a step failed its check, or training did not finish.
    """
    began = time.perf_counter()
    found = named.digests(recipe)
    with TemporaryDirectory(prefix="trimtab-") as folder:
        with ExitStack() as stack:
            if sources.is_read_by_ray(recipe.data):
                with phases.phase("start Ray"):
                    stack.enter_context(cluster(recipe.num_cpus + _num_cpus_reading(recipe)))
            with phases.phase("load data"):
                dataset = data.load(recipe.data, recipe.seed, root.parent / "runs" / "streams")
                dataset = measured_by(recipe, own_head.fit(recipe.teacher, dataset))
            with phases.phase("build models"):
                rehearse(recipe, dataset)
            tell_time(phases, recipe, (), dataset, began, checkpoints)
            made = stack.enter_context(open_workspace(recipe, dataset, Path(folder), phases, root, checkpoints, found))
            shrink(made, teach(made))
        return publish(recipe, made, root)


def measured_by(recipe: Recipe, dataset: Dataset) -> Dataset:
    """The data with the recipe's measure of quality.

    Raises:
        RecipeError: it does not fit the task, or more may be lost than there is.
        DataError: it is undefined on the examples.
    """
    task = dataset.task
    chosen = dataset.chosen if recipe.measure is None else measures.find(recipe.measure, task)
    dataset = replace(dataset, chosen=chosen)
    measures.expect_defined(dataset.measure, task, dataset.held_out.labels, dataset.num_outputs, "held-out")
    if recipe.search is not None:
        max_drop = recipe.search.budget.max_drop
        if dataset.measure.is_share and max_drop >= 1:
            raise RecipeError(f"search.budget.max_drop must lie in (0, 1) for {dataset.measure.name}, got {max_drop:g}")
        measures.expect_defined(dataset.measure, task, dataset.validation.labels, dataset.num_outputs, "validation")
    return dataset


def tell_time(
    phases: Phases,
    recipe: Recipe,
    variants: Sequence[Variant],
    dataset: Dataset,
    began: float,
    checkpoints: CheckpointStore | None,
) -> None:
    """Say about how long the run takes that began at that time; nothing of one that trains nothing, or is not shown."""
    if recipe.teacher.model is None or phases.is_quiet:
        return
    with phases.phase("estimate time"):
        found = plan.probed(recipe, variants, dataset, time.perf_counter() - began, checkpoints)
    phases.say(plan.summary(found))


@contextmanager
def open_workspace(
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    phases: Phases,
    root: Path,
    checkpoints: CheckpointStore | None = None,
    found: Mapping[str, str] | None = None,
) -> Iterator[Workspace]:
    """A place to make models, whose training Ray Train workers share; they start once something is to be trained.

    `found` are the digests of what the recipe names.
    """
    workers = Workers(
        dataset.train,
        num_workers=recipe.workers,
        cpus_per_worker=recipe.cpus_per_worker,
        min_workers=recipe.min_workers,
        num_cpus_reading=_num_cpus_reading(recipe),
        service=recipe.name,
        starting=partial(phases.phase, f"start {recipe.workers} workers"),
    )
    with ExitStack() as stack:
        trainer: Trainer = stack.enter_context(workers)
        if checkpoints is not None:
            trainer = Reusing(trainer, dataset.train, checkpoints, reuse.context(recipe))
        board = stack.enter_context(Board(_runs(recipe, root)))
        yield Workspace(
            recipe=recipe,
            dataset=dataset,
            folder=folder,
            trainer=trainer,
            phases=phases,
            board=board,
            checkpoints=checkpoints,
            named=found or {},
            notes=workers.notes,
        )


def publish(recipe: Recipe, made: Workspace, root: Path, search: SearchResult | None = None) -> Artifact:
    """Measure all candidates and publish the last one, as what `recipe` asked for.

    Raises:
        VerifyError: loaded anew from disk, it does not give what was measured.
    """
    dataset, candidates, phases = made.dataset, made.candidates, made.phases
    held_out, task = dataset.held_out, dataset.task
    with phases.phase("measure"):
        if search is None:  # else it was chosen, whatever it is
            candidates = _faster_last(recipe.steps[-1], candidates, dataset.validation)
        timed = latency.measure({each.step: each.path for each in candidates}, held_out)
        digests = {each.step: store.sha256(each.path) for each in candidates}
        predictions = [evaluate.predict(each.path, held_out, task, each.output) for each in candidates]
        judged = {
            each.step: judging.judge(dataset.measure, task, found, held_out.labels)
            for each, found in zip(candidates, predictions, strict=True)
        }
        measurements = tuple(
            Measurement(
                step=candidate.step,
                precision=candidate.precision,
                quality=judged[candidate.step].quality(),
                num_parameters=candidate.num_parameters,
                sparsity=graph.sparsity(graph.read(candidate.path)),
                size_bytes=candidate.path.stat().st_size,
                latency_s={size: each.median_s for size, each in timed[candidate.step].items()},
                latency_interval_s={size: each.interval_s for size, each in timed[candidate.step].items()},
            )
            for candidate in candidates
        )
    with Board(_runs(recipe, root)) as board:
        board.measurements(measurements)
    final = candidates[-1]
    taught = candidates.index(made.candidates[0])
    if search is not None and recipe.search is not None:
        lost = judging.compare(judged["teacher"], judged[final.step])
        search = budget.confirmed(search, lost, recipe.search.budget)
    example = final.path.with_name(store.EXAMPLE)
    export.save_example(held_out.batch(np.arange(1)), example)
    measured = {
        each.step: _measured(dataset, each, found, digests[each.step])
        for each, found in zip(candidates, predictions, strict=True)
    }
    checks = {step: partial(verify.verify, held_out=held_out, measured=each) for step, each in measured.items()}
    parent = _parent(recipe.teacher)
    if recipe.teacher.publish:
        with phases.phase("publish the teacher"):
            parent = _publish_teacher(
                recipe, made, root, example, measurements[taught], checks[candidates[taught].step]
            )
    confused = task.confused(held_out.labels, task.answers(predictions[-1]))
    served = graph.read(final.path)
    is_quantized = final.step == "quantize"
    with phases.phase("publish"):
        return store.publish(
            root,
            {store.MODEL: final.path, store.EXAMPLE: example, **dataset.files},
            {store.REPORT: page.render},
            check=checks[final.step],
            name=recipe.name,
            recipe=recipe.model_dump(mode="json"),
            recipe_sha256=recipe.sha256,
            provenance=_provenance(made),
            parent=parent,
            inputs=graph.inputs(served),
            outputs=graph.outputs(served, final.output),
            task=task.kind,
            labels=dataset.labels or None,
            measurements=measurements,
            parity=next((each.parity for each in reversed(candidates) if each.parity is not None), None),
            agreement=1 - float(task.changed(predictions[-1], predictions[-2]).mean()) if is_quantized else None,
            machine=evaluate.machine(),
            reference=evaluate.reference(final.path, dataset, final.output),
            fidelity=_fidelity(task.changed(predictions[-1], predictions[taught]), parent),
            preprocessing=dataset.preprocessing,
            libraries={name: version(name) for name in LIBRARIES},
            findings=Findings(
                examples=_examples(dataset),
                control=next(iter(made.controls), None),
                notes=tuple(made.notes),
                losses={step: tuple(losses) for step, losses in made.losses.items()},
                precisions=made.precisions,
                kernel=next(iter(made.kernels), None),
                differences=examine.differences(judged),
                speedups=examine.speedups({each.step: timed[each.step] for each in candidates}),
                confusion=examine.confusion(*confused[::-1], len(dataset.labels)),
                layers=examine.layers(served, final.sensitivity),
                search=search,
            ),
        )


def _fidelity(changed: NDArray[np.bool_], teacher: str | None) -> Fidelity:
    return Fidelity(teacher=teacher, num_agreed=int((~changed).sum()), num_rows=len(changed))


def _examples(dataset: Dataset) -> Examples:
    num_train = len(dataset.train if dataset.stream is None else dataset.stream)
    return Examples(
        num_train=num_train,
        num_unlabelled=len(dataset.train) - len(dataset.train.labelled()),
        num_validation=len(dataset.validation),
        num_held_out=len(dataset.held_out),
    )


def _measured(dataset: Dataset, candidate: Candidate, outputs: NDArray[np.float32], digest: str) -> Measured:
    """What the published file must give again."""
    task, labels = dataset.task, dataset.held_out.labels
    return Measured(
        model_sha256=digest,
        outputs=outputs,
        read=lambda found: task.read(found, candidate.output),
        right=lambda found: task.right(task.answers(found), labels),
    )


def _publish_teacher(
    recipe: Recipe,
    made: Workspace,
    root: Path,
    example: Path,
    measurement: Measurement,
    check: Callable[[Artifact], None],
) -> str:
    """Publish what the others were made of, to be served beside them; its `name/version`."""
    teacher, dataset = made.candidates[0], made.dataset
    model = graph.read(teacher.path)
    published = store.publish(
        root,
        {store.MODEL: teacher.path, store.EXAMPLE: example, **dataset.files},
        check=check,
        name=f"{recipe.name}-teacher",
        inputs=graph.inputs(model),
        outputs=graph.outputs(model, teacher.output),
        task=dataset.task.kind,
        labels=dataset.labels or None,
        measurements=(measurement,),
        parity=teacher.parity,
        machine=evaluate.machine(),
        preprocessing=dataset.preprocessing,
        provenance=_provenance(made),
        parent=_parent(recipe.teacher),
        libraries={name: version(name) for name in LIBRARIES},
    )
    return _name(published)


def _parent(teacher: Teacher) -> str | None:
    """The artifact whose file the teacher is; none where it is no artifact's."""
    if teacher.onnx is None or not (Path(teacher.onnx).parent / store.MANIFEST).is_file():
        return None
    return _name(store.load(Path(teacher.onnx).parent))


def _name(artifact: Artifact) -> str:
    return f"{artifact.manifest.name}/{artifact.manifest.version}"


def _provenance(made: Workspace) -> Provenance:
    return Provenance(
        named=dict(made.named),
        held_out_sha256=identity.of_split(made.dataset.held_out),
        code_sha256=code.own(),
    )


def _num_cpus_reading(recipe: Recipe) -> int:
    """CPUs beside the workers', where examples are streamed: Ray Data reads with them."""
    return int(sources.is_streamed(recipe.data))


def _runs(recipe: Recipe, root: Path) -> Path:
    """Where TensorBoard finds this recipe's runs: beside the artifacts."""
    return root.parent / "runs" / recipe.name / recipe.sha256[:12]


def _faster_last(step: Step, candidates: list[Candidate], validation: Split) -> list[Candidate]:
    """The last one is served: put an INT8 model that is not faster than fp32 here before it, unless it is wanted so."""
    if not isinstance(step, Quantize) or step.publish == "always" or step.method == "fp16":
        return candidates
    *others, fp32, int8 = candidates
    timed = latency.measure({each.step: each.path for each in (fp32, int8)}, validation)
    is_faster = latency.speedup(timed[fp32.step], timed[int8.step]) > 1
    return candidates if is_faster else [*others, int8, fp32]
