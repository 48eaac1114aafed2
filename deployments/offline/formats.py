"""The formats: how the files of each are cut into chunks, and how a chunk's rows are read."""

from collections.abc import Iterator, Sequence
from typing import Any

from deployments.offline import csv_rows, json_rows, parquet_rows, picture_rows, text_rows
from deployments.offline.files import Format, InputFile
from deployments.offline.rows import Chunk, Rows, Schema


def cut(kind: Format, files: Any, inputs: Sequence[InputFile], chunk_rows: int) -> tuple[Schema, list[Chunk]]:
    """The columns of the files, and the chunks that their rows are scored in.

    Raises:
        ScoringError: a file cannot be read, or its columns are not those of the first.
    """
    match kind:
        case "parquet":
            return parquet_rows.cut(files, inputs, chunk_rows)
        case "csv":
            return csv_rows.cut(files, inputs, chunk_rows)
        case "jsonl":
            return json_rows.cut(files, inputs, chunk_rows)
        case "text":
            return text_rows.cut(files, inputs, chunk_rows)
        case "pictures":
            return picture_rows.cut(inputs, chunk_rows)


def read(
    kind: Format,
    files: Any,
    paths: Sequence[str],
    chunk: Chunk,
    *,
    schema: Schema,
    keep: Sequence[str],
    needed: Sequence[str],
) -> Iterator[Rows]:
    """The rows of a chunk, some at a time; `paths` are the files that it lies in.

    Raises:
        ScoringError: a file cannot be read.
    """
    match kind:
        case "parquet":
            return parquet_rows.read(files, paths[0], chunk, keep, needed)
        case "csv":
            return csv_rows.read(files, paths[0], chunk, keep, list(schema))
        case "jsonl":
            return json_rows.read(files, paths[0], chunk, keep, schema)
        case "text":
            return text_rows.read(files, paths[0], chunk, keep)
        case "pictures":
            return picture_rows.read(files, paths, keep)
