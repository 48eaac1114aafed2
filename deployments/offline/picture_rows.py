"""Pictures: each file is a row, with the one column `path`."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from deployments.errors import ScoringError
from deployments.offline.files import InputFile
from deployments.offline.rows import WINDOW_BYTES, WINDOW_ROWS, Chunk, Rows, Schema
from deployments.offline.storage import reading, unreadable

COLUMN = "path"
PICTURE = "picture"
"""What the bytes of a picture are called among the values."""


def cut(inputs: Sequence[InputFile], chunk_rows: int) -> tuple[Schema, list[Chunk]]:
    """The chunks of the files; none is read for it."""
    firsts = range(0, len(inputs), chunk_rows)
    return {COLUMN: "string"}, [
        Chunk(number=number, file=first, first_row=0, num_rows=min(chunk_rows, len(inputs) - first))
        for number, first in enumerate(firsts)
    ]


def read(files: Any, paths: Sequence[str], keep: Sequence[str]) -> Iterator[Rows]:
    """The pictures; one that cannot be read is a bad row."""
    window: list[str] = []
    contents: list[bytes | None] = []
    errors: list[str | None] = []
    size_bytes = 0
    for at, path in enumerate(paths):
        content, error = _content(files, path)
        window.append(path)
        contents.append(content)
        errors.append(error)
        size_bytes += len(content or b"")
        if at == len(paths) - 1 or len(window) == WINDOW_ROWS or size_bytes >= WINDOW_BYTES:
            columns = {COLUMN: pa.array(window, pa.string())} if COLUMN in keep else {}
            yield Rows(where=window, columns=columns, values={COLUMN: window, PICTURE: contents}, errors=errors)
            window, contents, errors, size_bytes = [], [], [], 0


def _content(files: Any, path: str) -> tuple[bytes | None, str | None]:
    try:
        with reading(files, path) as file, unreadable(path):
            return file.read(), None
    except ScoringError as error:
        return None, str(error)
