"""Parquet, a few rows of a row group at a time; chunks are whole row groups, or pieces of a large one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow.parquet as pq

from deployments.errors import ScoringError
from deployments.offline.files import InputFile
from deployments.offline.rows import WINDOW_BYTES, WINDOW_ROWS, Chunk, Rows, Schema
from deployments.offline.storage import reading, unreadable

BUFFER_BYTES = 2**20
"""Read of a column at a time; without it, Arrow reads a row group's whole column."""
MOST_PIECES = 32
"""Of a row group: to come to its last piece, the ones before are decoded and thrown away."""


def cut(files: Any, inputs: Sequence[InputFile], chunk_rows: int) -> tuple[Schema, list[Chunk]]:
    """The files' columns, and the chunks of their rows; only the files' ends are read for it.

    Raises:
        ScoringError: a file is no Parquet, or has not the columns of the first.
    """
    schema: Schema = {}
    chunks: list[Chunk] = []
    for number, each in enumerate(inputs):
        with _opened(files, each.path) as file:
            found = {field.name: str(field.type) for field in file.schema_arrow}
            groups = [file.metadata.row_group(at).num_rows for at in range(file.metadata.num_row_groups)]
        if number and found != schema:
            raise ScoringError(f"{each.path} must have the columns of {inputs[0].path}: {_difference(schema, found)}")
        schema = found
        for begin, end, first_row, rows in _ranges(groups, chunk_rows):
            chunks.append(
                Chunk(number=len(chunks), file=number, first_row=first_row, num_rows=rows, begin=begin, end=end)
            )
    return schema, chunks


def read(files: Any, path: str, chunk: Chunk, keep: Sequence[str], needed: Sequence[str]) -> Iterator[Rows]:
    """The chunk's rows; of the columns, those that are kept or needed."""
    with _opened(files, path) as file:
        groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
        skip = chunk.first_row - sum(group.num_rows for group in groups[: chunk.begin])
        left, at = chunk.num_rows, chunk.first_row
        mine = groups[chunk.begin : chunk.end]
        row_bytes = max(1, sum(group.total_byte_size for group in mine) // max(1, sum(g.num_rows for g in mine)))
        batches = file.iter_batches(
            batch_size=max(1, min(WINDOW_ROWS, WINDOW_BYTES // row_bytes)),
            row_groups=range(chunk.begin, chunk.end),
            columns=list(dict.fromkeys([*keep, *needed])),
            use_threads=False,
        )
        while left:
            with unreadable(path):
                batch = next(batches, None)
            if batch is None:
                return
            if skip >= len(batch):
                skip -= len(batch)
                continue
            batch = batch.slice(skip, left)
            skip, left = 0, left - len(batch)
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield Rows(
                where=[f"{path} row {at + each}" for each in range(len(batch))],
                columns={name: columns[name] for name in keep},
                values=columns,
                errors=[None] * len(batch),
            )
            at += len(batch)


def _ranges(groups: Sequence[int], chunk_rows: int) -> Iterator[tuple[int, int, int, int]]:
    """First and last row group, first row and number of rows of each chunk."""
    at, row = 0, 0
    while at < len(groups):
        begin, rows = at, groups[at]
        at += 1
        if rows > chunk_rows:
            piece = max(chunk_rows, -(-rows // MOST_PIECES))
            for first in range(0, rows, piece):
                yield begin, at, row + first, min(piece, rows - first)
        else:
            while at < len(groups) and rows + groups[at] <= chunk_rows:
                rows += groups[at]
                at += 1
            if rows:
                yield begin, at, row, rows
        row += rows


@contextmanager
def _opened(files: Any, path: str) -> Iterator[pq.ParquetFile]:
    with reading(files, path) as file:
        with unreadable(path):
            opened = pq.ParquetFile(file, buffer_size=BUFFER_BYTES)
        yield opened


def _difference(schema: Schema, found: Schema) -> str:
    names = [name for name in {**schema, **found} if schema.get(name) != found.get(name)]
    told = [f"{name!r} must be {schema.get(name, 'absent')}, got {found.get(name, 'none')}" for name in names[:3]]
    return "; ".join(told) or "they stand in another order"
