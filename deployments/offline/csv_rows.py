"""CSV with a header and commas (RFC 4180); every column is kept as text, as it stands there."""

import csv
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa

from deployments.errors import ScoringError
from deployments.offline import records
from deployments.offline.files import InputFile
from deployments.offline.records import MOST_BYTES, Record
from deployments.offline.rows import Chunk, Rows, Schema
from deployments.offline.storage import reading
from deployments.offline.text_rows import BOM, decoded, windows


def cut(files: Any, inputs: Sequence[InputFile], chunk_rows: int) -> tuple[Schema, list[Chunk]]:
    """The files' columns, and the chunks of their rows; the files are read once for it.

    Raises:
        ScoringError: a header is missing, names a column twice, or is not that of the first file.
    """
    chunks: list[Chunk] = []
    columns: list[str] = []
    for number, each in enumerate(inputs):
        with reading(files, each.path) as file:
            names, after = _header(file, each.path)
            if columns and names != columns:
                raise ScoringError(
                    f"{each.path} must have the columns of {inputs[0].path}, {', '.join(columns)}; "
                    f"got {', '.join(names)}"
                )
            columns = names
            chunks += records.cut(_records(file, each.path, begin=after), number, chunk_rows, len(chunks))
    return dict.fromkeys(columns, "string"), chunks


def read(files: Any, path: str, chunk: Chunk, keep: Sequence[str], columns: Sequence[str]) -> Iterator[Rows]:
    """The chunk's rows; one that is no CSV, or has more or fewer fields than the header, is a bad one."""
    with reading(files, path) as file:
        for first, window in windows(_records(file, path, begin=chunk.begin, end=chunk.end), chunk.first_row):
            texts, errors = decoded([record.content for record in window])
            fields = [_fields(text, len(columns), errors, at) for at, text in enumerate(texts)]
            values = {name: [row[place] for row in fields] for place, name in enumerate(columns)}
            yield Rows(
                where=[f"{path} row {first + at}" for at in range(len(fields))],
                columns={name: pa.array(values[name], pa.string()) for name in columns if name in keep},
                values=values,
                errors=errors,
            )


def _records(file: BinaryIO, path: str, *, begin: int, end: int | None = None) -> Iterator[Record]:
    return records.records(file, path, begin=begin, end=end, quoted=True, keeps_blank=False)


def _header(file: BinaryIO, path: str) -> tuple[list[str], int]:
    """The names of the columns, and the byte after them."""
    first = next(_records(file, path, begin=0), None)
    if first is None:
        raise ScoringError(f"{path} must begin with the names of its columns, got an empty file")
    errors: list[str | None] = [None]
    (text,), errors = decoded([first.content.removeprefix(BOM)])
    names = [name or "" for name in _fields(text, None, errors, 0)]
    if errors[0] or "" in names or len(set(names)) < len(names):
        problem = errors[0] or f"got {', '.join(map(repr, names))}"
        raise ScoringError(f"{path} must begin with the names of its columns, each once: {problem}")
    return names, first.end


def _fields(text: str, wanted: int | None, errors: list[str | None], at: int) -> list[str | None]:
    """The row's fields, as many as are wanted; what is wrong is noted in `errors`."""
    csv.field_size_limit(MOST_BYTES)
    try:
        fields: list[str | None] = list(next(csv.reader([text], strict=True)))
    except (csv.Error, StopIteration) as error:
        fields = []
        errors[at] = errors[at] or f"the row must be CSV: {error}"
    if wanted is None:
        return fields
    if len(fields) != wanted:
        errors[at] = errors[at] or f"the row must have {wanted} fields, as the header has, got {len(fields)}"
    return fields[:wanted] + [None] * (wanted - len(fields))
