"""JSON lines: each row is an object; a column has the type that holds its values in all rows, else they are text."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa

from deployments.errors import ScoringError, brief
from deployments.offline import records
from deployments.offline.files import InputFile
from deployments.offline.rows import Chunk, Rows, Schema
from deployments.offline.storage import reading
from deployments.offline.text_rows import BOM, windows

MOST_COLUMNS = 10_000
_INT64 = range(-(2**63), 2**63)
_TYPES: dict[type, str] = {bool: "bool", int: "int64", float: "double", str: "string"}
_NUMBERS = {"int64", "double"}


def cut(files: Any, inputs: Sequence[InputFile], chunk_rows: int) -> tuple[Schema, list[Chunk]]:
    """The rows' columns, and the chunks of their rows; the files are read once for it.

    Raises:
        ScoringError: there are more columns than `MOST_COLUMNS`.
    """
    schema: Schema = {}
    chunks: list[Chunk] = []
    for number, each in enumerate(inputs):
        with reading(files, each.path) as file:
            found = _learning(records.records(file, each.path, quoted=False, keeps_blank=False), schema, each.path)
            chunks += records.cut(found, number, chunk_rows, len(chunks))
    return {name: kind or "string" for name, kind in schema.items()}, chunks


def read(files: Any, path: str, chunk: Chunk, keep: Sequence[str], schema: Schema) -> Iterator[Rows]:
    """The chunk's rows; one that is no JSON object is a bad one."""
    kept = {name: kind for name, kind in schema.items() if name in keep}
    with reading(files, path) as file:
        found = records.records(file, path, begin=chunk.begin, end=chunk.end, quoted=False, keeps_blank=False)
        for first, window in windows(found, chunk.first_row):
            objects, errors = [], list[str | None]()
            for record in window:
                row, error = _object(record.content)
                objects.append(row)
                errors.append(error)
            values = {name: [row.get(name) for row in objects] for name in schema}
            yield Rows(
                where=[f"{path} row {first + at}" for at in range(len(objects))],
                columns={name: _column(values[name], kind) for name, kind in kept.items()},
                values=values,
                errors=errors,
            )


def _learning(found: Iterator[records.Record], schema: Schema, path: str) -> Iterator[records.Record]:
    """The records as they are; `schema` learns what they hold, empty for a column that has no value yet."""
    for record in found:
        for name, value in _object(record.content)[0].items():
            kind = _kind(value)
            known = schema.get(name, "")
            if known != kind and kind:
                both_numbers = {known, kind} == _NUMBERS
                schema[name] = kind if not known else "double" if both_numbers else "string"
            elif name not in schema:
                schema[name] = ""
        if len(schema) > MOST_COLUMNS:
            raise ScoringError(f"{path}: its rows must have {MOST_COLUMNS} columns at most, got more")
        yield record


def _object(content: bytes) -> tuple[dict[str, Any], str | None]:
    try:
        found = orjson.loads(content.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        return {}, f"the row must be JSON: {error}"
    return (found, None) if isinstance(found, dict) else ({}, f"the row must be a JSON object, got {brief(found)}")


def _kind(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and value not in _INT64:
        return "string"
    return _TYPES.get(type(value), "string")


def _column(values: Sequence[Any], kind: str) -> pa.Array:
    if kind == "string":
        values = [each if each is None or isinstance(each, str) else orjson.dumps(each).decode() for each in values]
    return pa.array(values, pa.type_for_alias(kind))
