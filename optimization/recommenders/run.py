"""Runs a recipe of a recommender: its tables are trained on shards, what was made is measured and published.

interactions ─▶ table on shards ◀─ workers, epoch after epoch ─▶ ONNX of rows, a .npy of each table
"""

import asyncio
import secrets
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from optimization.artifact import store
from optimization.artifact.findings import Examples as NumExamples
from optimization.artifact.findings import Findings
from optimization.artifact.manifest import Measurement, Provenance, SplitInput, TensorSpec
from optimization.artifact.store import Artifact
from optimization.errors import TrainError
from optimization.graphs import graph
from optimization.graphs.export import save_example
from optimization.identity import code, content, named
from optimization.measuring import evaluate, latency, ranking
from optimization.networks import models
from optimization.readers.examples import Split
from optimization.recommenders import export, interactions, workers
from optimization.recommenders import network as networks
from optimization.recommenders.examples import Examples
from optimization.recommenders.export import TableFile
from optimization.recommenders.network import Recommender
from optimization.recommenders.progress import Progress
from optimization.recommenders.recipe import RecommenderRecipe
from optimization.recommenders.table import Layout, Table
from optimization.recommenders.workers import Work, Workers
from optimization.report.phases import Phases
from optimization.training import identity
from optimization.training.cluster import cluster

_LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxscript", "ray", "numpy")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of the training."""

    network: Recommender
    held_out: Split
    """Rows in place of ids."""
    losses: tuple[float, ...]
    tables: list[TableFile]


def run(recipe: RecommenderRecipe, root: Path, runs: Path, phases: Phases, *, fresh: bool = False) -> Artifact:
    """Make what the recipe describes and publish it under `root`; go on from the last epoch that was kept.

    Raises:
        OptimizationError: the data cannot be read, or training did not finish.
    """
    found = named.digests(recipe)
    with cluster(recipe.num_cpus), TemporaryDirectory(prefix="trimtab-") as folder:
        with phases.phase("load data"):
            train, held_out = interactions.load(recipe.data, recipe.seed)
            columns = interactions.sizes(recipe.data, recipe.embeddings.rows, train, held_out)
        progress = Progress(_snapshots(recipe, runs, found))
        if fresh:
            progress.forget()
        try:
            trained = asyncio.run(_trained(recipe, columns, train, held_out, progress, phases))
        finally:
            workers.end_table(recipe)
        artifact = _publish(recipe, trained, len(train), found, Path(folder), root, phases)
        progress.forget()
        return artifact


def _snapshots(recipe: RecommenderRecipe, runs: Path, found: dict[str, str]) -> str:
    digest = content.of_values({"recipe": recipe.sha256, "named": found, "code": code.own()})[:16]
    return f"{recipe.embeddings.snapshots or (runs / 'tables').absolute()}/{digest}"


async def _trained(
    recipe: RecommenderRecipe,
    columns: dict[str, int],
    train: Examples,
    held_out: Examples,
    progress: Progress,
    phases: Phases,
) -> Trained:
    given = recipe.embeddings
    network = networks.build(recipe.network, len(columns), given.width, recipe.seed)
    begins = networks.weights(network)
    layout = Layout(columns=columns, width=given.width, num_weights=len(begins))
    with phases.phase("start table"):
        open_table, snapshot = workers.start_table(recipe, layout, progress.where)
    done = progress.epochs_done(snapshot)
    table = open_table()
    renewing = asyncio.create_task(table.renew())
    try:
        if not done:
            await table.set(layout.weights, layout.as_rows(begins))
        work = Work(
            recipe=recipe,
            examples=train,
            network=network,
            layout=layout,
            open_table=open_table,
            run=secrets.randbits(63),
        )
        losses = await _epochs(work, table, done, progress, phases)
        await export.load(table, layout, network)
        with phases.phase("export tables"):
            tables = await export.save_tables(table, layout, given.exported, recipe.name)
        rows = await export.split(table, layout, held_out)
    finally:
        renewing.cancel()
    return Trained(network=network, held_out=rows, losses=losses, tables=tables)


async def _epochs(work: Work, table: Table, done: int, progress: Progress, phases: Phases) -> tuple[float, ...]:
    """Train what is left; the mean loss of each epoch."""
    num_epochs = work.recipe.training.epochs
    losses: list[float] = []
    if done >= num_epochs:
        return ()
    with phases.phase("train", num_epochs) as advance, Workers(work, done) as training:
        for epoch in range(done, num_epochs):
            losses.append(await training.epoch(epoch))
            progress.note(await _kept(table), epoch + 1)
            advance(epoch + 1, losses[-1])
    return tuple(losses)


async def _kept(table: Table) -> str:
    try:
        return await table.snapshot()
    except Exception as error:  # what a table raises is known to those alone who hold it
        raise TrainError(f"the table must be kept after each epoch, got: {error}") from error


def _publish(
    recipe: RecommenderRecipe,
    trained: Trained,
    num_train: int,
    found: dict[str, str],
    folder: Path,
    root: Path,
    phases: Phases,
) -> Artifact:
    path, example = folder / store.MODEL, folder / store.EXAMPLE
    with phases.phase("export"):
        parity = export.save(trained.network, path, trained.held_out, recipe.seed)
    with phases.phase("measure"):
        scores = evaluate.predict(path, trained.held_out, export.TASK, "probabilities")[:, 0]
        timed = latency.measure({"train": path}, trained.held_out)["train"]
        num_rows = sum(each.rows * each.width for each in trained.tables)
        measured = Measurement(
            step="train",
            precision="FP32",
            quality=ranking.auc(scores, trained.held_out.labels),
            num_parameters=models.num_parameters(trained.network) + num_rows,
            size_bytes=path.stat().st_size,
            latency_s={size: taken.median_s for size, taken in timed.items()},
            latency_interval_s={size: taken.interval_s for size, taken in timed.items()},
        )
    save_example(trained.held_out.batch(np.arange(1)), example)
    served = graph.read(path)
    threshold = recipe.data.positive_from
    return store.publish(
        root,
        {store.MODEL: path, store.EXAMPLE: example},
        name=recipe.name,
        recipe=recipe.model_dump(mode="json"),
        recipe_sha256=recipe.sha256,
        provenance=Provenance(named=found, held_out_sha256=identity.of_split(trained.held_out), code_sha256=code.own()),
        inputs=graph.inputs(served),
        outputs=graph.outputs(served, "probabilities"),
        embeddings=tuple(
            SplitInput(rows=export.input_name(each.column), ids=_ids(each.column), num_rows=each.rows)
            for each in trained.tables
        ),
        task="classification",
        labels=(f"{recipe.data.label} below {threshold:g}", f"{recipe.data.label} from {threshold:g}"),
        measurements=(measured,),
        parity=parity,
        machine=evaluate.machine(),
        libraries={name: version(name) for name in _LIBRARIES},
        findings=Findings(
            examples=NumExamples(num_train=num_train, num_validation=0, num_held_out=len(trained.held_out)),
            losses={"train": trained.losses},
            notes=tuple(_note(recipe.name, each) for each in trained.tables),
        ),
    )


def _ids(column: str) -> TensorSpec:
    return TensorSpec(name=column, datatype="INT64", shape=("batch",))


def _note(name: str, file: TableFile) -> str:
    """Where the rows of an input are, as applications of `serve_config.yaml` say it."""
    rows, table = export.input_name(file.column), f"{name}-{file.column}"
    return (
        f"rows of {rows}: {{table: {table}, rows: {file.rows}, width: {file.width}, initial: {file.url}}}, "
        f"and embeddings: {{{rows}: {{table: {table}}}}} of the model"
    )
