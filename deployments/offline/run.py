"""A run: planned, or gone on with; spread over workers; ended where too many rows are bad."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from deployments.errors import ScoringError
from deployments.offline import formats
from deployments.offline.answers import answers
from deployments.offline.files import CHUNK_ROWS, MAX_BAD, Format, found
from deployments.offline.model import Model
from deployments.offline.output import Done, Output
from deployments.offline.plan import Identity, Plan, resumed
from deployments.offline.storage import absolute, located
from deployments.offline.tensors import feeds
from deployments.offline.worker import Task, Work
from deployments.raw.inputs import raw_input
from optimization.artifact.store import load

Spread = Callable[[Work, list[Task]], Generator[Done, None, None]]
"""Scores chunks somewhere, in any order, and tells each that is whole."""
_NAMED = 5
"""Bad rows that an error names."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked for."""

    model: Model
    input: str
    output: str
    format: Format | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keep: tuple[str, ...] | None = None
    chunk_rows: int = CHUNK_ROWS
    max_bad: int | float = MAX_BAD
    """Most bad rows: a number as an int, a share of all rows as a float."""


@dataclass(kw_only=True)
class Progress:
    """How far a run is."""

    num_rows: int
    """Rows of the input."""
    num_before: int = 0
    """Of them, done by runs before this one."""
    num_done: int = 0
    num_bad: int = 0
    began_s: float | None = None
    """When the first chunk of this run was begun, in seconds since the epoch; the cluster and the model were ready."""
    examples: list[str] = field(default_factory=list)

    def add(self, done: Done, *, before: bool = False) -> None:
        """Count a chunk."""
        self.num_done += done.num_rows
        self.num_bad += done.num_bad
        self.examples += done.examples[: _NAMED - len(self.examples)]
        if before:
            self.num_before += done.num_rows
        else:
            self.began_s = min(self.began_s or done.began_s, done.began_s)

    @property
    def rows_per_s(self) -> float:
        """Of this run, since its first chunk began."""
        seconds = time.time() - self.began_s if self.began_s else 0.0
        return (self.num_done - self.num_before) / seconds if seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take, where that can be told."""
        rate = self.rows_per_s
        return (self.num_rows - self.num_done) / rate if rate else None


def score(order: Order, spread: Spread, report: Callable[[Progress], None] = lambda _: None) -> Progress:
    """Score every row of the input that no earlier run has scored; `report` is told after each chunk.

    Raises:
        ScoringError: the run cannot begin, or go on: an input, the output folder or a setting is to be mended.
        ArtifactError: the model cannot be had or run.
    """
    if f"{absolute(order.output)}/".startswith(f"{absolute(order.input).rstrip('/')}/"):
        raise ScoringError(f"--output must lie outside of --input, {order.input}, got {order.output}")
    output = Output(order.output)
    kind, inputs = found(order.input, order.format)
    identity = Identity(
        model=order.model.name,
        version=order.model.version,
        sha256=order.model.sha256,
        format=kind,
        columns=order.columns,
        keep=order.keep,
        chunk_rows=order.chunk_rows,
        files=inputs,
    )
    with output.held():
        plan = _planned(order, identity, output)
        work = _work(order, plan)
        if output.plan() is None:
            output.begin(plan.as_json())
        progress = Progress(num_rows=plan.num_rows)
        done = output.done()
        for each in done.values():
            progress.add(each, before=True)
        report(progress)
        _check_bad(progress, order)
        tasks = [_task(plan, number) for number in range(len(plan.chunks)) if number not in done]
        if tasks:
            with closing(spread(work, tasks)) as finished:
                for each in finished:
                    progress.add(each)
                    report(progress)
                    _check_bad(progress, order)
        if found(order.input, kind)[1] != inputs:
            raise ScoringError(f"{order.input} has changed while it was scored: score it anew into another --output")
    return progress


def _planned(order: Order, identity: Identity, output: Output) -> Plan:
    kept = output.plan()
    if kept is not None:
        return resumed(kept, identity, order.output)
    files, _ = located(order.input)
    schema, chunks = formats.cut(identity.format, files, identity.files, order.chunk_rows)
    return Plan(identity=identity, schema=schema, chunks=tuple(chunks))


def _work(order: Order, plan: Plan) -> Work:
    """What the workers do; that it can be done is known before any of them starts."""
    columns, kind = list(plan.schema), plan.identity.format
    unknown = [name for name in order.keep or () if name not in columns]
    if unknown:
        raise ScoringError(f"--keep must name columns of the input, {', '.join(columns[:20])}; got {unknown[0]!r}")
    keep = tuple(columns) if order.keep is None else order.keep
    with order.model.fetched() as copy:
        artifact = load(copy.path)
    answers(artifact.manifest, keep)
    return Work(
        model=order.model,
        format=kind,
        schema=plan.schema,
        feeds=feeds(artifact.manifest, raw_input(artifact.manifest), kind, columns, order.columns)
        if plan.chunks
        else (),
        keep=keep,
        input=absolute(order.input),
        output=absolute(order.output),
    )


def _task(plan: Plan, number: int) -> Task:
    chunk = plan.chunks[number]
    count = chunk.num_rows if plan.identity.format == "pictures" else 1
    paths = tuple(file.path for file in plan.identity.files[chunk.file : chunk.file + count])
    return Task(chunk=chunk, paths=paths)


def _check_bad(progress: Progress, order: Order) -> None:
    most = order.max_bad if isinstance(order.max_bad, int) else int(order.max_bad * progress.num_rows)
    if progress.num_bad <= most:
        return
    named = "".join(f"\n  {example}" for example in progress.examples)
    raise ScoringError(
        f"at most {most} rows of {progress.num_rows} may be bad, got {progress.num_bad} of the {progress.num_done} "
        f"scored so far; the same command with a larger --max-bad goes on. The first of them:{named}"
    )
