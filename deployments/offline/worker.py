"""One process of those that score: it loads the model once, then reads, scores and writes chunk after chunk."""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from deployments.errors import ScoringError
from deployments.offline import formats
from deployments.offline.answers import ERROR, Answer, answers, columns
from deployments.offline.files import Format
from deployments.offline.meters import ScoreMeter
from deployments.offline.model import Model
from deployments.offline.output import Done, Output
from deployments.offline.rows import Chunk, Rows, Schema
from deployments.offline.scorer import Scorer
from deployments.offline.storage import located
from deployments.offline.tensors import Feed, fed
from optimization.artifact.store import load

EXAMPLES = 3
"""Bad rows of a chunk that are told of."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What all workers of a run do."""

    model: Model
    format: Format
    schema: Schema
    feeds: tuple[Feed, ...]
    keep: tuple[str, ...]
    input: str
    output: str
    collector: str | None = None
    """Where to report; none for where this machine's variables say."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A chunk, and the files that it lies in."""

    chunk: Chunk
    paths: tuple[str, ...]


class Worker:
    """Scores chunks; to be used in a `with` statement, or for as long as its process lives."""

    def __init__(self, work: Work) -> None:
        """Load the model.

        Raises:
            ArtifactError: it cannot be had or run on this node.
        """
        self._work = work
        self._copy = work.model.fetched()
        artifact = load(self._copy.path)
        self._answers: list[Answer] = answers(artifact.manifest, work.keep)
        self._meter = ScoreMeter(artifact.manifest, work.collector)
        self._scorer = Scorer(artifact, self._meter.emitter)
        self._files, _ = located(work.input)
        self._output = Output(work.output)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Report once more, and let go of the model."""
        self._scorer.close()
        self._copy.release()
        self._meter.close()

    def score(self, task: Task) -> Done:
        """Write the chunk's output file, whole or not at all.

        Raises:
            ScoringError: an input cannot be read, or has not the rows that were planned.
        """
        with self._meter.chunk():
            done = self._score(task)
        self._meter.scored(done.num_rows, done.num_bad)
        return done

    def _score(self, task: Task) -> Done:
        began_s = time.time()
        num_rows = num_bad = 0
        examples: list[str] = []
        with self._output.writing() as path:
            writer: pq.ParquetWriter | None = None
            try:
                for rows in self._read(task):
                    table = self._scored(rows)
                    if writer is None:
                        writer = pq.ParquetWriter(path, table.schema)
                    writer.write_table(table)
                    bad = [f"{where}: {error}" for where, error in zip(rows.where, rows.errors, strict=True) if error]
                    num_rows, num_bad = num_rows + len(rows.errors), num_bad + len(bad)
                    examples += bad[: EXAMPLES - len(examples)]
            finally:
                if writer is not None:
                    writer.close()
            if num_rows != task.chunk.num_rows:
                raise ScoringError(
                    f"{task.paths[0]} must have {task.chunk.num_rows} rows from row {task.chunk.first_row} on, "
                    f"got {num_rows}: it has changed since the run was planned"
                )
            done = Done(
                number=task.chunk.number,
                num_rows=num_rows,
                num_bad=num_bad,
                examples=tuple(examples),
                size_bytes=path.stat().st_size,
                began_s=began_s,
            )
            self._output.finish(path, done)
        return done

    def _read(self, task: Task) -> Iterator[Rows]:
        needed = tuple(column for feed in self._work.feeds for column in feed.columns)
        return formats.read(
            self._work.format,
            self._files,
            task.paths,
            task.chunk,
            schema=self._work.schema,
            keep=self._work.keep,
            needed=needed,
        )

    def _scored(self, rows: Rows) -> pa.Table:
        tensors = {feed.spec.name: fed(feed, rows) for feed in self._work.feeds}
        outputs = self._scorer.answers(tensors, rows.errors)
        found = {**rows.columns, **columns(self._answers, outputs), ERROR: pa.array(rows.errors, pa.string())}
        return pa.table(found)


def here(work: Work, tasks: list[Task]) -> Generator[Done, None, None]:
    """Score the chunks in this process, one after the other."""
    with Worker(work) as worker:
        for task in tasks:
            yield worker.score(task)
