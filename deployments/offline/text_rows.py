"""Text: each line is a row, with the one column `text`."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from deployments.offline import records
from deployments.offline.files import InputFile
from deployments.offline.rows import WINDOW_BYTES, WINDOW_ROWS, Chunk, Rows, Schema
from deployments.offline.storage import reading

COLUMN = "text"
BOM = b"\xef\xbb\xbf"


def cut(files: Any, inputs: Sequence[InputFile], chunk_rows: int) -> tuple[Schema, list[Chunk]]:
    """The chunks of the files, which are read once for it."""
    chunks: list[Chunk] = []
    for number, each in enumerate(inputs):
        with reading(files, each.path) as file:
            found = records.records(file, each.path, quoted=False, keeps_blank=True)
            chunks += records.cut(found, number, chunk_rows, len(chunks))
    return {COLUMN: "string"}, chunks


def read(files: Any, path: str, chunk: Chunk, keep: Sequence[str]) -> Iterator[Rows]:
    """The chunk's rows; bytes that are no UTF-8 make a bad row, in which they are replaced."""
    with reading(files, path) as file:
        found = records.records(file, path, begin=chunk.begin, end=chunk.end, quoted=False, keeps_blank=True)
        for first, lines in windows(found, chunk.first_row):
            contents = [line.content.rstrip(b"\r\n") for line in lines]
            if first == 0:
                contents[0] = contents[0].removeprefix(BOM)
            texts, errors = decoded(contents)
            yield Rows(
                where=[f"{path} row {first + at}" for at in range(len(texts))],
                columns={COLUMN: pa.array(texts, pa.string())} if COLUMN in keep else {},
                values={COLUMN: texts},
                errors=errors,
            )


def windows(found: Iterator[records.Record], first_row: int) -> Iterator[tuple[int, list[records.Record]]]:
    """Some records at a time, with the row number of the first."""
    window: list[records.Record] = []
    size_bytes = 0
    for record in found:
        window.append(record)
        size_bytes += len(record.content)
        if len(window) == WINDOW_ROWS or size_bytes >= WINDOW_BYTES:
            yield first_row, window
            first_row, window, size_bytes = first_row + len(window), [], 0
    if window:
        yield first_row, window


def decoded(contents: Sequence[bytes]) -> tuple[list[str], list[str | None]]:
    """Texts, and what is wrong with each."""
    texts: list[str] = []
    errors: list[str | None] = []
    for content in contents:
        try:
            texts.append(content.decode())
            errors.append(None)
        except UnicodeDecodeError as error:
            texts.append(content.decode(errors="replace"))
            errors.append(f"the row must be UTF-8: {error}")
    return texts, errors
